"""Reads a file of Codex line by line: what each line says, as messages with their ids."""

from pathlib import PurePath
from typing import Any, Literal

from flows.codex import current, experimental, legacy, log, rollout, unknown
from flows.codex.line import BOM, ids_of_item, is_blank, message_id, parse
from flows.codex.said import Said, dictionary, status, untold
from flows.codex.state import Call, State
from flows.fit import budget, fit
from flows.spelling import Claim
from flows.text import MAX_DEPTH, TooDeepError, legible, storable, storable_json

FileKind = Literal["codex-events", "log"]
Source = Literal["live", "backfill"]

BUDGET = budget(1024 * 1024)
# JSON takes a text up to so many times its bytes, once as content and once as a tool's output.
_GROWTH = 4
# What is kept of an open call's input; a larger one is not repeated with its result.
_KEPT_INPUT_BYTES = 16 * 1024
# tool and attrs are inside of others when they are stored.
_DEPTH = MAX_DEPTH - 8
_NO_RESULT = "(no result: run ended)"


def artifact_name(path: str) -> str:
    """Return what a file is called as an artifact: `.codex-implementation-agent.log` is `implementation-agent-log`."""
    name = legible(PurePath(path).name)
    for end in (".gz", ".tgz"):
        name = name.removesuffix(end)
    name = name.lstrip(".").removeprefix("codex-")
    stem, dot, end = name.rpartition(".")
    if not dot:
        return name or "file"
    return stem if end in ("jsonl", "json", "txt") else f"{stem}-{end}"


class Reader:
    """Reads the lines of one file, in their order.

    Its answers depend on nothing but the file's kind and the lines it has read, so they
    are the same live and afterwards.

    Args:
        kind: of the file; goes into the ids.
        source: who reads; goes into attrs.
        artifact: what the file is called; goes into attrs.
        budget: bytes for content, tool and attrs of a message; what is larger is cut.
        state: of an earlier reader that had come just as far.
    """

    def __init__(
        self,
        kind: FileKind,
        source: Source,
        artifact: str,
        *,
        budget: int = BUDGET,
        state: State | None = None,
    ) -> None:
        self.kind = kind
        self.state = state or State()
        self._source = source
        self._artifact = artifact
        self._budget = budget

    def read(self, number: int, data: bytes) -> list[Claim]:
        """Return what a line says: nothing, one message, or a tool's call and its result.

        Args:
            number: of the line, from 1.
            data: its bytes, with or without what ends it.

        Returns:
            Claims with id, kind, role, content, tool and attrs. The time is the caller's to set, along
            with `attrs.timestamp_source`, save where the line has a time itself.
        """
        data = data.rstrip(b"\r\n") if data[-1:] in (b"\n", b"\r") else data
        if number == 1:
            data = data.removeprefix(BOM)
        if is_blank(data):
            return []
        event_type: str | None = None
        item_id: str | None = None
        if self.kind == "log":
            said = log.read(data, self.state)
        else:
            event = parse(data)
            if event is None or not self._is_event(event):
                self.state.skip("not an event")
                return []
            event_type, item_id, said = self._read_event(event, data)
        if not said and not self.state.ended:
            return []
        return self._claims(number, data, event_type, item_id, said)

    def end(self) -> list[Claim]:
        """Return the results that will never come, each marked as interrupted, once nothing more is written."""
        self.state.end_process()
        return self._interrupted()

    @staticmethod
    def _is_event(event: dict[str, Any]) -> bool:
        return (
            isinstance(event.get("type"), str)
            or isinstance(event.get("msg"), dict)
            or legacy.is_header(event)
            or rollout.is_line(event)
        )

    def _read_event(self, event: dict[str, Any], data: bytes) -> tuple[str | None, str | None, list[Said]]:
        """Return an event's type, the id of its item and what it says."""
        state = self.state
        if isinstance(msg := event.get("msg"), dict) and "payload" not in event:
            return _name(msg.get("type")), None, legacy.read(msg, state)
        if legacy.is_header(event):
            return None, None, legacy.read_header(event, state)
        if rollout.is_line(event):
            return _name(event.get("type")), None, rollout.read(event, state)
        event_type = _name(event.get("type"))
        if experimental.is_event(event):
            event = experimental.renamed(event)
        if event.get("type") == "thread.started":
            state.begin_thread(_name(event.get("thread_id")))
            return event_type, None, [status("Thread started")]
        item = dictionary(event.get("item"))
        if item.get("type") == "web_search" and len(ids := ids_of_item(data)) > 1:
            event = {**event, "item": {**item, "id": ids[0], "provider_id": ids[-1]}}
            item = event["item"]
        if event_type not in current.EVENTS and "item" in event and not item:
            return event_type, None, unknown.event(event)
        return event_type, _name(item.get("id")), current.read(event, state)

    def _claims(
        self, number: int, data: bytes, event_type: str | None, item_id: str | None, said: list[Said]
    ) -> list[Claim]:
        state = self.state
        claims = self._interrupted() if state.ended else []
        if len(said) == 1 and said[0].kind == "tool_result" and said[0].call not in state.calls:
            said = [untold(said[0]), *said]
        own_id = message_id(self.kind, state.thread, number, data)
        for place, each in enumerate(said):
            attrs = self._attrs(number, event_type, each, each.call or item_id)
            if event_type == "error" and each.kind == "error":
                state.failure, state.failure_line = each.content, number
            claim = Claim(
                # Where a line is two messages, the second is its own and the first the call that was never told.
                message_id=own_id if place == len(said) - 1 else f"{own_id}:call",
                kind=each.kind,
                role=each.role,
                content=each.content if each.content.strip() else "(nothing)",
                tool=each.tool,
                attrs=attrs,
                timestamp=each.timestamp,
            )
            self._settle(claim, number, data)
            if each.call:
                self._pair(each, claim, number, len(data))
            claims.append(claim)
        return claims

    def _attrs(self, number: int, event_type: str | None, said: Said, item_id: str | None) -> dict[str, Any]:
        state = self.state
        known = {
            "event_type": event_type,
            "item_type": said.item_type,
            "item_id": item_id,
            "thread_id": state.thread if self.kind != "log" else None,
            "turn": state.turn or None,
            "timestamp_source": "event" if said.timestamp else None,
            **said.attrs,
        }
        attrs = {"source": self._source, "artifact": self._artifact, "line": number}
        return attrs | {name: value for name, value in known.items() if value is not None}

    def _settle(self, claim: Claim, number: int, data: bytes) -> None:
        """Make a claim storable, and no larger than a message may be."""
        if b"\0" in data or (b"\\u" in data and (b"\\u0000" in data or b"\\ud" in data or b"\\uD" in data)):
            claim.content = storable(claim.content or "")
            claim.tool = _storable(claim.tool)
            claim.attrs = _storable(claim.attrs)
        elif data.count(b"[") + data.count(b"{") > _DEPTH:
            claim.tool = _storable(claim.tool)
            claim.attrs = _storable(claim.attrs)
        if len(data) * _GROWTH > self._budget:
            fit(claim, self._budget, f"line {number} of {self._artifact}")

    def _pair(self, said: Said, claim: Claim, number: int, size: int) -> None:
        if said.kind == "tool_result":
            self.state.calls.pop(said.call, None)
        elif not said.attrs.get("synthetic"):
            about = claim.tool or {}
            if size > _KEPT_INPUT_BYTES:
                about = {name: value for name, value in about.items() if name != "input"}
            attrs = {name: value for name, value in (claim.attrs or {}).items() if name != "truncated"}
            self.state.remember(said.call, Call(claim.message_id or "", number, about, attrs))

    def _interrupted(self) -> list[Claim]:
        ended, self.state.ended = self.state.ended, []
        return [
            Claim(
                message_id=f"{call.message_id}:interrupted",
                kind="tool_result",
                role="tool",
                content=_NO_RESULT,
                tool={**call.tool, "status": "interrupted"},
                attrs={**call.attrs, "synthetic": True},
            )
            for call in ended
        ]


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _storable(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if not value:
        return value
    return {storable(name): _shallow(each) for name, each in value.items()}


def _shallow(value: Any) -> Any:
    try:
        return storable_json(value, MAX_DEPTH - _DEPTH)
    except (TooDeepError, RecursionError):
        return "(nested too deeply)"
