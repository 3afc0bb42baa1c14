"""Messages over the API."""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import msgspec

from flows.message import CHANNEL_GENERAL, Event
from flows.settings import SettingError
from web.failure import UNREACHABLE, WRONG, Failure, say
from web.shelf import Wanted, tell_behind

MESSAGES = "/api/agents/messages"
RUNS = "/api/agents/runs"
EVENTS = "/api/agents/events"
LAST_ID = 2**63 - 1
EVENT_STREAM = "text/event-stream"
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


class _Run(msgspec.Struct):
    state: str
    messages: int


class Remote:
    """The API of a web.

    Args:
        url: the web's, perhaps with a path before the API's own.
        token: what says who asks, where that matters.

    Raises:
        SettingError: one of them can't be what it is to be.
    """

    def __init__(self, url: str, token: str | None) -> None:
        parts = _parts(url)
        if token is not None and not (token.isascii() and token.isprintable()):
            # What takes a header apart is a bad value, and names it: this one must not be told.
            message = "AGENT_COMMS_TOKEN: it takes what `agent-comms token` prints, but got a value (not shown)"
            raise SettingError(message)
        self._address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
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
            page = self._page(asked)
            events = page.messages + events
            behind = page.search.behind_seconds
            asked = page.prev
        tell_behind(behind)
        return events[-count:]

    def silent(self, wanted: Wanted) -> str | None:
        """Return the state of the run that is wanted, where it is known and no message of it has come yet."""
        # Where a run of that name would be is the stream of all of them.
        if wanted.run is None or wanted.run == "events":
            return None
        query = urlencode({"workflowNamespace": wanted.namespace} if wanted.namespace else {})
        try:
            run = msgspec.json.decode(self._get(f"{RUNS}/{quote(wanted.run, safe='')}?{query}"), type=_Run)
        except msgspec.DecodeError as error:
            raise self._foreign() from error
        except Failure as failure:
            if failure.exit_code == WRONG:
                # It isn't known.
                return None
            raise
        return run.state if not run.messages else None

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

    def _page(self, path: str) -> _Page:
        try:
            return msgspec.json.decode(self._get(path), type=_Page)
        except msgspec.DecodeError as error:
            raise self._foreign() from error

    def _get(self, path: str) -> bytes:
        with closing(self._connect(TIMEOUT_S)) as connection:
            try:
                connection.request("GET", self._path + path, headers=self._headers)
                response = connection.getresponse()
                body = response.read()
            except (OSError, HTTPException) as error:
                raise self._unreachable(error) from error
        self._check(response, body)
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
                headers = {**self._headers, "Accept": EVENT_STREAM, "Last-Event-ID": str(seq)}
                connection.request("GET", f"{self._path}{EVENTS}?{urlencode(query)}", headers=headers)
                # One that ends its connection has taken the socket over.
                with closing(connection.getresponse()) as response:
                    if response.status != 200:
                        self._check(response, response.read())
                    if response.headers.get_content_type() != EVENT_STREAM:
                        raise self._foreign()
                    yield from _events(response)
            except (OSError, HTTPException) as error:
                raise self._unreachable(error) from error
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise self._foreign() from error

    def _connect(self, timeout: float) -> HTTPConnection:
        kind = HTTPSConnection if self._secure else HTTPConnection
        return kind(self._host, self._port, timeout=timeout)

    def _check(self, response: HTTPResponse, body: bytes) -> None:
        status, said = response.status, _error(body)
        if status in (401, 403):
            why = said or f"{status} {response.reason}"
            text = f"the API doesn't let us in: {why} AGENT_COMMS_TOKEN says who asks."
            raise Failure(text, UNREACHABLE)
        if 400 <= status < 500:
            # Ours says what is wrong; what says nothing is another server, or a page's address.
            if said is None:
                raise self._foreign()
            text = f"the API refused: {said}"
            raise Failure(text, WRONG)
        if status != 200:
            text = f"the API can't answer: {said or f'{status} {response.reason}'}"
            raise Failure(text, UNREACHABLE)

    def _foreign(self) -> Failure:
        where = "AGENT_COMMS_URL says where it is"
        if self._path:
            where += ", and without the path of a page such as /agents"
        return Failure(f"{self._address} answers, but not as agent-comms does: {where}", WRONG)

    def _unreachable(self, error: Exception) -> Failure:
        why = getattr(error, "strerror", None) or error or type(error).__name__
        return Failure(f"{self._address} can't be reached: {why}", UNREACHABLE)


def _parts(url: str) -> SplitResult:
    with suppress(ValueError):
        parts = urlsplit(url)
        is_printed = url.isprintable() and " " not in url and parts.path.isascii()
        # The port is read when it is asked for.
        if parts.scheme in ("http", "https") and parts.hostname and is_printed and parts.port != 0:
            return parts
    message = "AGENT_COMMS_URL: it takes an address such as http://127.0.0.1:8080"
    raise SettingError(message)


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


def _error(body: bytes) -> str | None:
    try:
        problem: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    return problem.get("error") if isinstance(problem, dict) and isinstance(problem.get("error"), str) else None
