"""Reads a file of Codex for the ids of its messages alone, at a fraction of what it takes to read what they say."""

from collections.abc import Callable
from hashlib import blake2b

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from flows.codex.line import begun_id
from flows.codex.reader import FileKind, Reader
from flows.codex.state import Call, State
from flows.spelling import Claim

# Items that are a call when they begin, and its result when they end.
_CALLS = frozenset({"command_execution", "file_change", "mcp_tool_call", "collab_tool_call"})
_WORDS = frozenset({"agent_message", "reasoning", "plan"})
# What follows the quote of a text that may be blank after all.
_PERHAPS_BLANK = frozenset(b' "\\\t\n\r\v\f\x1c\x1d\x1e\x1f') | frozenset(range(0x80, 0x100))


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


class Skimmer:
    """Tells which messages the lines of one file are, in their order, as `Reader` would make them.

    Whatever is not one of the plainest events is read by a `Reader` over the same state. Where a line can't be made a
    message for what it says, it is told to be one all the same: never is a message left out.

    Args:
        kind: of the file.
        note: called with each message that had to be read, for what else it tells.

    Attributes:
        rows: messages so far, apart from those that were noted.
        spoken: of these, the ones in which an agent spoke.
    """

    def __init__(self, kind: FileKind, note: Callable[[Claim], None]) -> None:
        self.state = State()
        self.rows = 0
        self.spoken = 0
        self._kind = kind
        self._note = note
        self._reader = Reader(kind, "live", "", state=self.state)
        self._thread: str | None = None
        self._begun = begun_id(kind, None)

    def read(self, number: int, data: bytes) -> list[str]:
        """Return the ids of the messages that a line is; arguments as for `Reader.read`."""
        if self._kind == "codex-events" and number > 1:
            data = data.rstrip(b"\r\n") if data[-1:] in (b"\n", b"\r") else data
            try:
                event = _decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                found = self._skim(event, number, data)
                if found is not None:
                    return found
        return self._noted(self._reader.read(number, data))

    def end(self) -> list[str]:
        """Return the ids of the results that will never come."""
        return self._noted(self._reader.end())

    def _noted(self, claims: list[Claim]) -> list[str]:
        for claim in claims:
            self._note(claim)
        return [claim.message_id or "" for claim in claims]

    def _skim(self, event: _Event, number: int, data: bytes) -> list[str] | None:
        """Return an event's ids; None where it is to be read."""
        kind, item = event.type, event.item
        if item is None:
            if kind == "turn.started" and event.message is UNSET:
                self.state.begin_turn()
            elif kind != "error":
                return None
            self.rows += 1
            return [self._id(number, data)]
        if item.item_type is not UNSET or event.message is not UNSET:
            return None
        if item.type in _CALLS:
            return self._call(kind, item.id or "", number, data)
        if item.type in _WORDS:
            return self._words(kind, item, number, data)
        return None

    def _call(self, kind: str, call: str, number: int, data: bytes) -> list[str] | None:
        calls = self.state.calls
        if kind == "item.started":
            own = self._id(number, data)
            if call:
                self.state.remember(call, Call(own, number, {}, {}))
            self.rows += 1
            return [own]
        if kind == "item.completed":
            own = self._id(number, data)
            if calls.pop(call, None) is not None:
                self.rows += 1
                return [own]
            self.rows += 2
            return [f"{own}:call", own]
        return [] if kind == "item.updated" else None

    def _words(self, kind: str, item: _Item, number: int, data: bytes) -> list[str] | None:
        if kind != "item.completed":
            return [] if kind in ("item.started", "item.updated") else None
        text = bytes(item.text) if isinstance(item.text, Raw) else b""
        if len(text) < 3 or text[0] != ord('"') or text[1] in _PERHAPS_BLANK:
            return None
        self.rows += 1
        self.spoken += item.type == "agent_message"
        return [self._id(number, data)]

    def _id(self, number: int, data: bytes) -> str:
        if self._thread is not self.state.thread:
            self._thread = self.state.thread
            self._begun = begun_id(self._kind, self._thread)
        digest: blake2b = self._begun.copy()
        digest.update(b"%d:" % number)
        digest.update(data)
        return digest.hexdigest()
