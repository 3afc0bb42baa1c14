"""Messages over the API."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from flows.message import CHANNEL_GENERAL, Event
from flows.settings import SettingError
from web.failure import UNREACHABLE, WRONG, Failure, say
from web.shelf import Wanted, tell_behind

MESSAGES = "/api/agents/messages"
EVENTS = "/api/agents/events"
LAST_ID = 2**63 - 1
# The most that a page holds.
PAGE = 1_000
TIMEOUT_S = 30.0
# A stream says that it is alive at least every 15 s.
SILENCE_S = 45.0
AGAIN_S = (0.1, 1.0)
AWAY_S = (1.0, 3.0)


class _Sight(msgspec.Struct):
    behind_seconds: float = 0.0


class _Page(msgspec.Struct):
    messages: list[Event]
    prev: str | None = None
    search: _Sight = msgspec.field(default_factory=_Sight)


class Remote:
    """The API of a web.

    Args:
        url: the web's, perhaps with a path before the API's own.
        token: what says who asks, where that matters.
    """

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            message = "AGENT_COMMS_URL: it takes an address such as http://127.0.0.1:8080"
            raise SettingError(message)
        self._address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._headers = {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}

    def close(self) -> None:
        """Let go of what is open: nothing is."""

    def newest(self, wanted: Wanted, count: int) -> list[Event]:
        """Return the newest so many messages in reading order, oldest first."""
        events: list[Event] = []
        behind = 0.0
        asked: str | None = f"{MESSAGES}?{urlencode({**_query(wanted), 'limit': min(count, PAGE)})}"
        while asked and len(events) < count:
            page = msgspec.json.decode(self._get(asked), type=_Page)
            events = page.messages + events
            behind = page.search.behind_seconds
            asked = page.prev
        tell_behind(behind)
        return events[-count:]

    def head(self, wanted: Wanted) -> int:
        """Return the live cursor of what is stored now."""
        # To an id that nobody had yet a stream says where it begins instead.
        with closing(self._stream(_streams(wanted)[0], LAST_ID)) as cursors:
            return next(cursors, (0, None))[0]

    def follow(self, wanted: Wanted, seq: int) -> Iterator[Event]:
        """Yield the messages after a live cursor, and wait for more, whatever happens to the connection."""
        heard: Queue[Event | Exception] = Queue(maxsize=PAGE)
        for query in _streams(wanted):
            Thread(target=self._listen, args=(query, seq, heard), daemon=True).start()
        while True:
            found = heard.get()
            if isinstance(found, Exception):
                raise found
            if wanted.holds(found):
                yield found

    def _get(self, path: str) -> bytes:
        with closing(self._connect(TIMEOUT_S)) as connection:
            try:
                connection.request("GET", self._path + path, headers=self._headers)
                response = connection.getresponse()
                body = response.read()
            except (OSError, HTTPException) as error:
                raise self._unreachable(error) from error
        _check(response, body)
        return body

    def _listen(self, query: Mapping[str, str], seq: int, heard: Queue[Event | Exception]) -> None:
        away = False
        while True:
            try:
                for cursor, event in self._stream(query, seq):
                    away, seq = False, cursor
                    if event is not None:
                        heard.put(event)
            except Failure as failure:
                if failure.exit_code != UNREACHABLE:
                    heard.put(failure)
                    return
                if not away:
                    say(f"{failure}; trying again")
                away = True
            # Not all who were cut off come again at once.
            time.sleep(random.uniform(*(AWAY_S if away else AGAIN_S)))  # noqa: S311  # no secret

    def _stream(self, query: Mapping[str, str], seq: int) -> Generator[tuple[int, Event | None]]:
        """Yield cursors, and the messages that they are after, until the stream ends."""
        with closing(self._connect(SILENCE_S)) as connection:
            try:
                headers = {**self._headers, "Accept": "text/event-stream", "Last-Event-ID": str(seq)}
                connection.request("GET", f"{self._path}{EVENTS}?{urlencode(query)}", headers=headers)
                response = connection.getresponse()
                if response.status != 200:
                    _check(response, response.read())
                yield from _events(response)
            except (OSError, HTTPException) as error:
                raise self._unreachable(error) from error

    def _connect(self, timeout: float) -> HTTPConnection:
        kind = HTTPSConnection if self._secure else HTTPConnection
        return kind(self._host, self._port, timeout=timeout)

    def _unreachable(self, error: Exception) -> Failure:
        return Failure(f"{self._address} can't be reached: {error or type(error).__name__}", UNREACHABLE)


def _query(wanted: Wanted) -> dict[str, str]:
    named = {
        "runId": wanted.run,
        "workflowNamespace": wanted.namespace,
        "agentId": wanted.agent,
        "kind": ",".join(wanted.kinds),
        "repository": wanted.repository,
        "issue": wanted.issue_number,
        "branch": wanted.branch,
    }
    query = {name: value for name, value in named.items() if value}
    if wanted.general and not wanted.run:
        query["channel"] = CHANNEL_GENERAL
    elif wanted.general or not wanted.run:
        query["include"] = CHANNEL_GENERAL
    return query


def _streams(wanted: Wanted) -> list[dict[str, str]]:
    """Return what each stream is asked for: one of a run, one of the general channel."""
    query = {name: value for name, value in _query(wanted).items() if name not in ("include", *_TOPICS)}
    query.pop("channel", None)
    runs = [query] if wanted.run else []
    return runs + ([{**query, "channel": CHANNEL_GENERAL}] if wanted.general else [])


_TOPICS = ("repository", "issue", "branch")


def _events(response: HTTPResponse) -> Iterator[tuple[int, Event | None]]:
    fields: dict[str, str] = {}
    for raw in response:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if fields.get("id", "").isdigit():
            is_message = "event" not in fields and "data" in fields
            event = msgspec.json.decode(fields["data"], type=Event) if is_message else None
            yield int(fields["id"]), event
        fields = {}


def _check(response: HTTPResponse, body: bytes) -> None:
    status = response.status
    if status == 200:
        return
    said = _error(body) or f"{status} {response.reason}"
    if status in (401, 403):
        text = f"the API doesn't let us in: {said} AGENT_COMMS_TOKEN says who asks."
        raise Failure(text, UNREACHABLE)
    if 400 <= status < 500:
        text = f"the API refused: {said}"
        raise Failure(text, WRONG)
    text = f"the API can't answer: {said}"
    raise Failure(text, UNREACHABLE)


def _error(body: bytes) -> str | None:
    try:
        problem: Any = json.loads(body)
    except ValueError:
        return None
    return problem.get("error") if isinstance(problem, dict) and isinstance(problem.get("error"), str) else None
