"""A client of the live streams that reads what any client would, byte by byte."""

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode, urlsplit

EVENTS = "/api/agents/events"
RUN_EVENTS = "/api/agents/runs/events"
PATIENCE_S = 60.0


class Seen(NamedTuple):
    """A server-sent event: its id, its name (`message` where it has none), its data."""

    id: str
    name: str
    data: Any

    @property
    def said(self) -> str:
        return str(self.data["content"])


class Watcher:
    """One connection to a stream.

    Args:
        url: the web's.
        path: the stream's.
        last_id: sent as `Last-Event-ID`.
        headers: sent as well.
        parameters: of the query.
    """

    def __init__(
        self,
        url: str,
        path: str = EVENTS,
        *,
        last_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.last_id = last_id
        self.comments = 0
        self.retries: list[int] = []
        self._passed_over = {"alive", *(["caught-up"] if path == RUN_EVENTS else [])}
        self._connection = HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)
        sent = {**(headers or {}), **({"Last-Event-ID": last_id} if last_id is not None else {})}
        self._connection.request("GET", f"{path}?{urlencode(parameters)}", headers=sent)
        assert isinstance(self._connection.sock, socket.socket)
        self.socket = self._connection.sock
        self.response: HTTPResponse = self._connection.getresponse()
        self._lines = self._read_lines()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.response.close()
        self._connection.close()

    def __iter__(self) -> Iterator[Seen]:
        """Yield events until the server ends the stream; on the list of runs, those that tell of a run or of an end."""
        event: dict[str, str] = {}
        for line in self._lines:
            if not line:
                if "data" in event and event.get("event") not in self._passed_over:
                    self.last_id = event.get("id", self.last_id)
                    yield Seen(event.get("id", ""), event.get("event", "message"), json.loads(event["data"]))
                event = {}
            elif line.startswith(":"):
                self.comments += 1
            else:
                field, _, value = line.partition(":")
                event[field] = value.removeprefix(" ")
                if field == "retry":
                    self.retries.append(int(value))

    def take(self, count: int) -> list[Seen]:
        """Wait for so many events."""
        found: list[Seen] = []
        for event in self:
            found.append(event)
            if len(found) == count:
                return found
        raise AssertionError(f"the stream ended after {len(found)} of {count} events: {found[-3:]}")

    def hear(self, last: str) -> list[str]:
        """Return what is said up to some last words; control events are passed over."""
        heard: list[str] = []
        for event in self:
            if event.name == "message":
                heard.append(event.said)
            if heard[-1:] == [last]:
                return heard
        raise AssertionError(f"the stream ended after {heard[-3:]}")

    def take_comments(self, count: int) -> None:
        """Wait until so many comments have come, with no event among them."""
        for line in self._lines:
            assert not line.startswith("data"), line
            self.comments += line.startswith(":")
            if self.comments >= count:
                return

    def skip_to_comments(self, count: int, without: str) -> None:
        """Wait until so many more comments have come, with no line among them that begins so."""
        before = self.comments
        for line in self._lines:
            assert not line.startswith(without), line
            self.comments += line.startswith(":")
            if self.comments - before >= count:
                return

    def rest(self) -> list[Seen]:
        """Return what comes until the server ends the stream."""
        return list(self)

    def _read_lines(self) -> Iterator[str]:
        while raw := self.response.readline():
            yield raw.decode().rstrip("\n")


def said(events: Sequence[Seen]) -> list[str]:
    return [event.said for event in events]


class Follower(threading.Thread):
    """Watches in the background until something is said, dropping its connection and resuming now and then.

    Args:
        urls: the webs; a random one is asked each time.
        until: the last words.
        drop_after: how many events it takes from a connection before it drops it; told anew each time.
        through: errors that it bears, since webs end and begin.
        parameters: of the query.
    """

    def __init__(
        self,
        *urls: str,
        until: str,
        drop_after: Callable[[], int],
        through: tuple[type[Exception], ...] = (),
        **parameters: Any,
    ) -> None:
        super().__init__(daemon=True)
        self.events: list[Seen] = []
        self.ready = threading.Event()
        self._urls = urls
        self._until = until
        self._drop_after = drop_after
        self._parameters = parameters
        self._through = through
        self._last_id: str | None = None

    def run(self) -> None:
        while not (self.events and self.events[-1].said == self._until):
            with suppress(*self._through):
                self._watch(self._drop_after())

    def _watch(self, left: int) -> None:
        with Watcher(random.choice(self._urls), EVENTS, last_id=self._last_id, **self._parameters) as watcher:
            for event in watcher:
                self.events.append(event)
                self.ready.set()
                self._last_id = event.id
                left -= 1
                if left == 0 or event.said == self._until:
                    break
