"""What a line of an artifact says, as the row that the ingest would make of it: all but its time and who speaks.

Made where artifacts are read, in several processes, so that whoever stores has little left to do.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from flows.dead_letter import Reason, UnfitError
from flows.fit import ENVELOPE_BYTES
from flows.message import CHANNEL_RUN, Message
from flows.normalize import EARLIEST, ROLES, attrs_of, content_of, default_role
from flows.redact import Redactor
from flows.runs import telling
from flows.spelling import Claim, read
from flows.text import MAX_DEPTH

# JSON takes a character up to so many times.
_GROWTH = 6
_NUL = b"\\u0000"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Draft(Struct, frozen=True, array_like=True, gc=False):
    """A message without its time and without who speaks, ready to become a row; without credentials.

    Attributes:
        content: as UTF-8.
        attrs: a JSON object without its last brace, since what the time was taken from is to follow.
        telling: of its attrs, what its run's state depends on; None where it tells of none.
    """

    kind: str
    role: str
    content: bytes
    attrs: bytes
    telling: dict[str, Any] | None = None


class Drafter:
    """Makes drafts of what the lines of one run say.

    Args:
        redactor: replaces credentials.
        max_message_bytes: what would be a larger payload is refused.
        beside: what every message says of the run: `run_id`, `stage`, `runtime`, as far as they are known.
    """

    def __init__(self, redactor: Redactor, max_message_bytes: int, beside: Mapping[str, str]) -> None:
        self._redactor = redactor
        self._max_bytes = max_message_bytes
        self._run_id, self._stage, self._runtime = map(beside.get, ("run_id", "stage", "runtime"))
        told = [value.encode("utf-8", "surrogatepass") for value in beside.values()]
        self._is_suspicious = bool(redactor.suspects(told))

    def draft(self, claim: Claim, *, usable_time: bool) -> Draft | None:
        """Return the draft of what is said, credentials included; None where the ingest would make no row of it.

        Args:
            claim: with its kind and id; changed.
            usable_time: whether the row has the time that the claim gives, where it gives any.

        Raises:
            UnicodeEncodeError, TypeError, OverflowError, RecursionError: it can't be said in JSON.
        """
        claim.run_id, claim.stage, claim.runtime = self._run_id, self._stage, self._runtime
        try:
            if len(claim.content or "") * _GROWTH + ENVELOPE_BYTES <= self._max_bytes:
                made = _draft(claim, usable_time=usable_time)
                if not _is_odd(made, claim):
                    return made
            return _draft(self._read(claim), usable_time=usable_time)
        except UnfitError:
            return None

    def _read(self, claim: Claim) -> Claim:
        """Return a claim as the ingest reads it.

        Raises:
            UnfitError: it makes nothing of it.
        """
        fields = {name: getattr(claim, name) for name in claim.__struct_fields__}
        payload = _encode({name: value for name, value in fields.items() if value is not None})
        if len(payload) > self._max_bytes:
            detail = f"The message has {len(payload):,} bytes; {self._max_bytes:,} are allowed."
            raise UnfitError(Reason.TOO_LARGE, detail)
        return read(payload)

    def redact(self, drafts: list[Draft | None]) -> None:
        """Replace, in place, the drafts that hold credentials by such that hold none."""
        places = [at for at, draft in enumerate(drafts) if draft is not None]
        if not self._is_suspicious:
            texts = [draft.content + b"\n" + draft.attrs for draft in drafts if draft is not None]
            places = [places[at] for at in self._redactor.suspects(texts)]
        messages = [self._message(draft) for at in places if (draft := drafts[at]) is not None]
        for at, before, after in zip(places, messages, self._redactor.messages(messages), strict=True):
            if after is not before:
                drafts[at] = _encoded(after.kind, after.role, after.content, after.attrs)

    def _message(self, draft: Draft) -> Message:
        """Return a draft as a message, as far as credentials are looked for in one."""
        return Message(
            workflow_uid=None,
            workflow_name=None,
            workflow_namespace="",
            run_id=self._run_id,
            step_id=None,
            agent_id="",
            role=draft.role,
            kind=draft.kind,
            timestamp=EARLIEST,
            channel=CHANNEL_RUN,
            stage=self._stage,
            content=draft.content.decode(),
            attrs=_decode(draft.attrs + b"}"),
            dedupe_key="",
        )


def _draft(claim: Claim, *, usable_time: bool) -> Draft:
    """Return the draft of a claim as it is, which stays as it is."""
    kind, content = claim.kind or "", claim.content
    if not content or content.isspace():
        content = content_of(kind, claim)
    role = claim.role if claim.role in ROLES else default_role(kind)
    own = claim.attrs
    claim.attrs = {**(own or {})}
    attrs = attrs_of(claim, None, None, {}, usable_time=usable_time)
    claim.attrs = own
    return _encoded(kind, role, content, attrs)


def _encoded(kind: str, role: str, content: str, attrs: dict[str, Any]) -> Draft:
    attrs.pop("timestamp_source", None)
    return Draft(kind, role, content.encode(), _encode(attrs)[:-1], telling(kind, attrs))


def _is_odd(made: Draft, claim: Claim) -> bool:
    """Say whether whoever reads a claim's payload may have another claim.

    Such hold what Postgres can't; or, where a payload has many brackets, too many levels or long numbers.
    """
    content, attrs = made.content, made.attrs
    if _NUL in attrs or _NUL in content or 0 in content:
        return True
    # Spelled out: every message passes here.
    brackets = attrs.count(b"{") + attrs.count(b"[") + content.count(b"{") + content.count(b"[")
    return brackets >= MAX_DEPTH - 1 and (_has_more(claim.attrs, MAX_DEPTH - 2) or _has_more(claim.tool, MAX_DEPTH - 2))


def _has_more(value: Any, levels: int) -> bool:
    """Say whether a value has more than so many levels, or holds a number of 18 digits or more."""
    if isinstance(value, int):
        return abs(value) >= 10**17
    if not isinstance(value, dict | list):
        return False
    within = value.values() if isinstance(value, dict) else value
    return not levels or any(_has_more(each, levels - 1) for each in within)
