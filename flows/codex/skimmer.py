"""Reads a file of Codex for the keys of its messages alone, at a fraction of what it takes to read what they say."""

from collections.abc import Callable, Sequence
from enum import IntEnum

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from connectors.lines import Line
from flows.codex.line import ID_CHARS, TOO_LONG, UNREADABLE, begun_id, nothing
from flows.codex.reader import FileKind, Reader
from flows.codex.state import Call, State
from flows.identity import Scope
from flows.spelling import Claim


class _Part(IntEnum):
    """What the event of an item is."""

    CALL = 0
    RESULT = 1
    # Of its own.
    MESSAGE = 2
    NOTHING = 3


_CALL, _RESULT, _MESSAGE, _NOTHING = _Part


_CALLS = ("command_execution", "file_change", "mcp_tool_call", "collab_tool_call")
_WORDS = ("agent_message", "reasoning", "plan")
# By the event's type and the item's; any other is to be read.
_PARTS = {
    **{("item.started", item): _CALL for item in _CALLS},
    **{("item.completed", item): _RESULT for item in _CALLS},
    **{("item.started", item): _NOTHING for item in _WORDS},
    **{("item.completed", item): _MESSAGE for item in _WORDS},
    **{("item.updated", item): _NOTHING for item in (*_CALLS, *_WORDS)},
}
# What follows the quote of a text that may be blank after all.
_PERHAPS_BLANK = frozenset(b' "\\\t\n\r\v\f\x1c\x1d\x1e\x1f') | frozenset(range(0x80, 0x100))
_QUOTE, _RETURN = b'"\r'


class _Item(Struct, gc=False):
    type: str = ""
    id: str | None = None
    text: Raw | UnsetType = UNSET
    item_type: Raw | UnsetType = UNSET


class _Event(Struct, gc=False, forbid_unknown_fields=True):
    """An event that says nothing which the reader's state depends on, apart from its item's id."""

    type: str = ""
    item: _Item | None = None
    message: Raw | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Event).decode
_decode_text = msgspec.json.Decoder(str).decode


def _is_blank(raw: Raw) -> bool:
    """Say of a JSON value whether it is no text or nothing but white space, or may be."""
    text = bytes(raw)
    if text[0] == _QUOTE and text[1] not in _PERHAPS_BLANK:
        return len(text) < 3
    try:
        return not _decode_text(text).strip()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True


class Skimmer:
    """Tells which messages the lines of one file are, in their order, as `Reader` would make them.

    Whatever is not one of the plainest events is read by a `Reader` over the same state. Where a line can't be made a
    message for what it says, it is told to be one all the same: never is a message left out.

    Args:
        kind: of the file.
        scope: that the keys are of.
        note: called with each message that had to be read, for what else it tells.
        skip: called with the reason for each line that is no message and that no reader has counted.

    Attributes:
        rows: messages so far, apart from those that were noted.
        spoken: of these, the ones in which an agent spoke.
    """

    def __init__(
        self, kind: FileKind, scope: Scope, note: Callable[[Claim], None], skip: Callable[[str], None]
    ) -> None:
        self.state = State()
        self.rows = 0
        self.spoken = 0
        self._kind = kind
        self._key_of_id = scope.key_of_id
        self._begun_key = scope.begun_key(ID_CHARS)
        self._note = note
        self._skip = skip
        self._reader = Reader(kind, "live", "", state=self.state)

    def keys(self, lines: Sequence[Line]) -> list[str]:
        """Return the keys of the messages that the next lines are."""
        if self._kind != "codex-events":
            return [key for line in lines for key in self._read(line)]
        keys: list[str] = []
        own_keys = 0
        state, begun_key = self.state, self._begun_key
        thread, begun = state.thread, begun_id(self._kind, state.thread)
        # Spelled out: every line passes here, and calls take as long as what they do.
        for line in lines:
            data, number = line.data, line.number
            try:
                event = _decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                part = None
            else:
                part = self._part(event) if number > 1 else None
            if part is None:
                found = self._read(line)
                own_keys -= len(found)
                keys += found
                if state.thread is not thread:
                    thread, begun = state.thread, begun_id(self._kind, state.thread)
                continue
            if part is _NOTHING:
                continue
            digest = begun.copy()
            digest.update(b"%d:" % number)
            digest.update(data.rstrip(b"\r") if data[-1] == _RETURN else data)
            own = digest.hexdigest()
            if part is not _MESSAGE and event.item:
                call = event.item.id or ""
                if part is _CALL:
                    if call:
                        state.remember(call, Call(own, number, {}, {}))
                elif state.calls.pop(call, None) is None:
                    keys.append(self._key_of_id(f"{own}:call"))
            digest = begun_key.copy()
            digest.update(own.encode())
            keys.append(digest.hexdigest())
        self.rows += len(keys) + own_keys
        return keys

    def end(self) -> list[str]:
        """Return the keys of the results that will never come."""
        return self._noted(self._reader.end())

    def _part(self, event: _Event) -> _Part | None:
        """Return what an event is; None where it is to be read."""
        kind, item = event.type, event.item
        if item is None:
            if kind == "turn.started" and event.message is UNSET:
                self.state.begin_turn()
            elif kind != "error":
                return None
            return _MESSAGE
        if item.item_type is not UNSET or event.message is not UNSET:
            return None
        part = _PARTS.get((kind, item.type))
        if part is _MESSAGE:
            if not isinstance(item.text, Raw) or _is_blank(item.text):
                return None
            self.spoken += item.type == "agent_message"
        return part

    def _read(self, line: Line) -> list[str]:
        """Return a line's keys, whatever it is."""
        if line.lost:
            self._skip(TOO_LONG)
            return []
        try:
            claims = self._reader.read(line.number, line.data)
        except Exception:  # whatever a line holds, the others are read
            self._skip(UNREADABLE)
            return []
        if not claims and (why := nothing(line.data)):
            self._skip(why)
        return self._noted(claims)

    def _noted(self, claims: list[Claim]) -> list[str]:
        for claim in claims:
            self._note(claim)
        return [self._key_of_id(claim.message_id or "") for claim in claims]
