"""What is missing, as the row that the ingest would have made of it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from connectors.delivery import Delivery, JetStreamMessage
from flows.dead_letter import UnfitError
from flows.draft import Draft
from flows.message import CHANNEL_RUN, Message
from flows.missing import Missing
from flows.normalize import DEFAULT_RUNTIME, RESERVED_ATTRS, Identity, identify, run_id_of, word
from flows.recovery import Recovery
from flows.redact import Redactor
from flows.runs import LAST_CONTENT_CHARS
from flows.spelling import Claim
from flows.storage import Ready, names_field, row_of

_EPOCH = datetime.fromtimestamp(0, UTC)
# From the Unix epoch to Postgres'.
_EPOCH_US = 946_684_800_000_000
# What UTF-8 takes at most for the words that a run's row shows.
_WORDS_BYTES = 4 * LAST_CONTENT_CHARS
# What says who speaks is the same for most of a run.
_VOICES = 4_096


class Recovered(Ready, frozen=True, gc=False):
    """A message that is to be stored, with its row.

    Attributes:
        message: as far as its run's row depends on it; the whole is in its row alone.
        subject: that it would have been published on.
        draft: what it was made of.
        run: the number of its run.
        part: of the artifact that it is in.
    """

    subject: str
    draft: Draft
    run: int
    part: int

    @property
    def origin(self) -> JetStreamMessage:
        """What the stream would have delivered, its credentials left out."""
        attrs: dict[str, Any] = msgspec.json.decode(self.draft.attrs + b"}")
        claim = Claim(
            kind=self.draft.kind,
            role=self.draft.role,
            content=self.draft.content.decode(),
            run_id=self.message.run_id,
            stage=self.message.stage,
            message_id=attrs.pop("message_id", None),
            tool=attrs.pop("tool", None),
            runtime=attrs.pop("runtime", None),
            attrs={name: value for name, value in attrs.items() if name not in RESERVED_ATTRS},
        )
        payload = msgspec.json.encode(claim)
        time = round(self.message.timestamp.timestamp() * 1_000_000) * 1_000
        return _Delivered(self.subject, payload, "", placed_at=time)


class _Delivered(JetStreamMessage, frozen=True, gc=False):
    """A message as the stream would have delivered it.

    Attributes:
        placed_at: when the stream would have stored it, nanoseconds since the Unix epoch.
    """

    placed_at: int = 0

    def delivery(self) -> Delivery:
        """Return what the server would say of it."""
        return Delivery(deliveries=1, stream_seq=0, stored_at=self.placed_at)


class _Voice(Struct, frozen=True):
    """What all messages have in common that an agent says in a run in the same kind and role.

    Attributes:
        subject: that it is published on.
        who: None where a name is too long for the table.
        names: the row's fields that hold them.
        attrs: as far as the run's row depends on them, of a message that tells nothing of the run's state.
    """

    subject: str
    who: Identity | None
    run_id: str | None = None
    stage: str | None = None
    names: bytes = b""
    attrs: dict[str, Any] = {}


class Rows:
    """Makes rows of what is missing.

    Args:
        runs: by their numbers.
        redactor: replaces credentials in what every message says of its run.
        default_agent: who speaks where nobody says it.
    """

    def __init__(self, runs: Mapping[int, Recovery], redactor: Redactor, default_agent: str) -> None:
        self._runs = runs
        self._redactor = redactor
        self._default_agent = default_agent
        self._voices: dict[tuple[int, int, str, str], _Voice] = {}

    def row(self, missing: Missing) -> Recovered | None:
        """Return what is missing with its row; None where the table takes none."""
        draft, run = missing.draft, self._runs[missing.run]
        if draft is None:
            return None
        place = missing.run, missing.part, draft.kind, draft.role
        voice = self._voices.get(place)
        if voice is None:
            if len(self._voices) >= _VOICES:
                self._voices.clear()
            subject = run.subject(missing.part, draft.kind, self._default_agent)
            voice = self._voices[place] = self._voice(subject, draft.role, run.beside)
        who = voice.who
        if who is None:
            return None
        content, tells = draft.content, draft.telling
        attrs = b'%b,"timestamp_source":"%b"}' % (draft.attrs, missing.source.encode())
        if missing.given is not None:
            given = (_EPOCH + timedelta(microseconds=missing.given)).isoformat()
            attrs = b'%b,"timestamp_given":"%b"}' % (attrs[:-1], given.encode())
        message = Message(
            who.uid,
            who.name,
            who.namespace,
            voice.run_id,
            None,
            who.agent,
            draft.role,
            draft.kind,
            _EPOCH + timedelta(microseconds=missing.time),
            CHANNEL_RUN,
            voice.stage,
            (content[:_WORDS_BYTES] if tells is None else content).decode("utf-8", "ignore"),
            voice.attrs if tells is None else {**tells, "runtime": voice.attrs["runtime"]},
            missing.key,
        )
        row = row_of(missing.key, missing.time - _EPOCH_US, voice.names, content, attrs)
        return Recovered(message, row, "", len(row.fields), voice.subject, draft, missing.run, missing.part)

    def _voice(self, subject: str, role: str, beside: Mapping[str, str]) -> _Voice:
        try:
            who = identify(subject, None, None, None, None, None, None)
        except UnfitError:
            return _Voice(subject, None)
        run_id = self._redacted(run_id_of(beside.get("run_id")))
        stage = self._redacted(word(beside.get("stage")))
        names = names_field(
            who.uid, who.name, who.namespace, run_id, None, who.agent, role, who.kind, CHANNEL_RUN, stage
        )
        runtime = word(beside.get("runtime")) or DEFAULT_RUNTIME
        # Whatever tells nothing of the run's state is told to be of a turn or an item.
        return _Voice(subject, who, run_id, stage, names, {"runtime": runtime, "event_type": ""})

    def _redacted(self, text: str | None) -> str | None:
        return self._redactor.text(text, set()) if text else None
