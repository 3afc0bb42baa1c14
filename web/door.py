"""Who comes in: who each request is from, whether its route lets them, and whether a live connection may go on."""

import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import cast

from flask import Flask, Request, current_app, g, request
from msgspec import Struct

from flows.settings import Settings
from web import rights, sight
from web.access import networks, roster_of
from web.cookie import Cookies, Session
from web.endings import Endings
from web.person import ANYBODY, How, Person, Right, make_person
from web.problems import Problem
from web.roster import Entry, Roster
from web.sight import NOTHING, Sight

log = logging.getLogger(__name__)

HOUR_S = 3_600
# How soon a live connection notices that its person may not be there any longer.
TICK_S = 1.0
# Of somebody's namespaces so many are named in a sentence.
NAMED = 10
# Over TLS the name itself keeps other hosts of the domain from setting it.
COOKIE = "agent_comms"
SECURE_COOKIE = "__Host-agent_comms"
_SCHEME = "bearer"


class Unknown(Problem):
    """Nobody knows who asks."""

    def __init__(self, error: str) -> None:
        super().__init__(error, None, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": 'Bearer realm="agent-comms"'})


class Visit(Struct, frozen=True):
    """A person who came with something that says who they are.

    Attributes:
        again: says who has come with the same, by now; None for nobody.
        until: when it ends by itself, a time since the epoch.
    """

    person: Person
    again: Callable[[], Person | None]
    until: float = float("inf")

    @property
    def is_over(self) -> bool:
        """Whether whoever came may not be there any longer."""
        return time.time() >= self.until or self.again() is None

    @property
    def has_changed(self) -> bool:
        """Whether they may do something else than when they came."""
        return self.again() != self.person


class Door:
    """Knows who comes.

    Args:
        settings: AGENT_COMMS_AUTH and what goes with it.
        endings: which sign-ins were ended.

    Raises:
        SettingError: something doesn't go together.
    """

    def __init__(self, settings: Settings, endings: Endings) -> None:
        self._endings = endings
        self.auth = settings.agent_comms_auth
        self.cookies = Cookies(settings.agent_comms_cookie_key or "", HOUR_S * settings.agent_comms_session_hours)
        self._proxies = networks(settings.agent_comms_proxy_addresses)
        self.roster = roster_of(settings)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._inside: dict[object, tuple[Visit, Callable[[bool], None]]] = {}

    @property
    def takes_sign_in(self) -> bool:
        """Whether somebody may sign in at a page of ours."""
        return self.auth == "token"

    def visit(self, asked: Request) -> Visit:
        """Say who a request is from.

        Raises:
            Unknown: nobody knows.
        """
        if self.roster is None:
            return Visit(ANYBODY, lambda: ANYBODY)
        self.roster.refresh()
        if self.auth == "proxy" and self.is_proxy(asked.environ.get("REMOTE_ADDR")):
            user = asked.headers.get("X-Forwarded-User", "")
            if user:
                return self._by_groups(self.roster, user, asked.headers.get("X-Forwarded-Groups", ""))
        header = asked.headers.get("Authorization")
        if header is not None:
            return self._by_token(self.roster, header)
        if self.takes_sign_in:
            for name in (SECURE_COOKIE, COOKIE):
                if cookie := asked.cookies.get(name):
                    return self._by_cookie(self.roster, cookie)
            message = "Nobody has said who asks: send `Authorization: Bearer` with a token, or sign in at /sign-in."
        else:
            message = "The proxy has not said who asks, in X-Forwarded-User."
        raise Unknown(message)

    def end_session(self, asked: Request) -> Person | None:
        """End the sign-in whose cookie a request brings, whoever else may have a copy; return who signs out.

        Returns:
            None where no cookie stands for a sign-in that goes on.
        """
        left = None
        for name in (SECURE_COOKIE, COOKIE):
            cookie = asked.cookies.get(name)
            found = self._session(self.roster, cookie) if cookie and self.roster else None
            if found is not None and self._endings.end(found.id, found.until):
                left = _person(found.reader.name, "cookie", (found.reader,))
        return left

    def is_proxy(self, address: str | None) -> bool:
        """Whether a peer is one of AGENT_COMMS_PROXY_ADDRESSES; a Unix socket has no address."""
        if not address:
            return None in self._proxies
        with suppress(ValueError):
            found = ipaddress.ip_address(address)
            found = getattr(found, "ipv4_mapped", None) or found
            return any(network is not None and found in network for network in self._proxies)
        return False

    def source(self, asked: Request) -> str:
        """Return the address that a request came from, as far as our own proxies tell."""
        address: str = asked.environ.get("REMOTE_ADDR") or "unix"
        told = [part.strip() for part in asked.headers.get("X-Forwarded-For", "").split(",")]
        while told and self.is_proxy(None if address == "unix" else address):
            try:
                address = str(ipaddress.ip_address(told.pop()))
            except ValueError:
                break
        return address

    def watch(self, visit: Visit, ended: Callable[[bool], None]) -> Callable[[], None]:
        """Have a live connection told when its person may not be there any longer.

        Args:
            visit: theirs.
            ended: called at most once, in another thread, and must not wait: with True where nobody is known any
                longer, with False where they may do something else than when they came.

        Returns:
            What is to be called at the connection's end.
        """
        if self.roster is None:
            return lambda: None
        self.start()
        key = object()
        with self._lock:
            self._inside[key] = (visit, ended)
        return lambda: self._forget(key)

    def start(self) -> None:
        """Begin to look after live connections, once; after the fork of a worker, never before."""
        with self._lock:
            if self._thread is None and self.roster is not None:
                self._thread = threading.Thread(target=self._run, name="door", daemon=True)
                self._thread.start()
                if self.takes_sign_in:
                    self._endings.start()

    def close(self) -> None:
        """Look after nobody any longer."""
        self._stopping.set()
        self._endings.close()

    def _run(self) -> None:
        roster = cast("Roster", self.roster)
        seen: tuple[int, int] | None = None
        while not self._stopping.wait(TICK_S):
            try:
                roster.refresh()
                versions = roster.version, self._endings.version
                everybody, seen = versions != seen, versions
                self._turn_out(everybody=everybody)
            except Exception:
                # Who is let in no longer is to be turned out, whatever became of somebody else.
                log.exception("door: failed; going on", extra={"todo": "report it with this line"})

    def _turn_out(self, *, everybody: bool) -> None:
        """End the connections of those who may not be there; `everybody` is whether all are looked at."""
        now = time.time()
        for key, (visit, ended) in [*self._inside.items()]:
            if (everybody and visit.has_changed) or now >= visit.until:
                self._forget(key)
                ended(visit.is_over)

    def _forget(self, key: object) -> None:
        with self._lock:
            self._inside.pop(key, None)

    @staticmethod
    def _by_token(roster: Roster, header: str) -> Visit:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != _SCHEME or not token.strip():
            message = "Authorization: it takes `Bearer` and a token."
            raise Unknown(message)
        # The text of a header is Latin-1 here, whatever was sent.
        token = token.strip()

        def who() -> Person | None:
            reader = roster.by_token(token)
            return _person(reader.name, "token", (reader,)) if reader else None

        person = who()
        if person is None:
            message = "Authorization: nobody has this token."
            raise Unknown(message)
        return Visit(person, who)

    def _by_cookie(self, roster: Roster, cookie: str) -> Visit:
        def session() -> Session | None:
            found = self._session(roster, cookie)
            return None if found is None or self._endings.has(found.id) else found

        def who() -> Person | None:
            found = session()
            return _person(found.reader.name, "cookie", (found.reader,)) if found else None

        found, person = session(), who()
        if found is None or person is None:
            message = "You are not signed in any longer. Sign in at /sign-in."
            raise Unknown(message)
        return Visit(person, who, found.until)

    def _session(self, roster: Roster, cookie: str) -> Session | None:
        return self.cookies.session(cookie, roster.by_name(self.cookies.name(cookie) or ""), time.time())

    @staticmethod
    def _by_groups(roster: Roster, user: str, groups: str) -> Visit:
        names = [name.strip() for name in groups.split(",")]
        if "," in user or not user.isprintable():
            # Two headers arrive as one, with a comma; the first may be anybody's.
            message = "X-Forwarded-User: it takes one name."
            raise Unknown(message)

        def who() -> Person:
            return _person(user, "proxy", roster.groups(names))

        return Visit(who(), who)


def _person(name: str, how: How, entries: Iterable[Entry]) -> Person:
    return make_person(name, how, ((entry.namespaces, entry.rights) for entry in entries))


def install(app: Flask) -> None:
    """Have an app ask everybody who comes who they are, before any route sees them."""
    app.before_request(_admit)


def person() -> Person:
    """Return who asks."""
    return visit().person


def may(right: Right) -> bool:
    """Whether whoever asks, known or not, has a right anywhere."""
    found: Visit | None = g.get("visit")
    return found is not None and found.person.may(right)


def visit() -> Visit:
    """Return whose request this is, and how long they may stay."""
    return cast("Visit", g.visit)


def door() -> Door:
    """Return the door of the application."""
    return cast("Door", current_app.extensions["door"])


def source() -> str:
    """Return the address that this request came from."""
    return door().source(request)


def _admit() -> None:
    # The context may be that of an earlier request on the same connection.
    sight.look(NOTHING)
    endpoint = request.endpoint
    need = rights.need_of(current_app, endpoint) if endpoint else None
    if need == "open":
        return
    found = g.visit = door().visit(request)
    if endpoint is None:
        # There is no such address; whoever is known may hear so.
        return
    if need is None:
        message = "This address is open to nobody."
        raise Problem(message, None, HTTPStatus.FORBIDDEN)
    check_right(found.person, need)
    sight.look(found.person.sight(need))


def check_right(person: Person, right: Right) -> None:
    """Refuse who lacks a right.

    Raises:
        Problem: they do.
    """
    if not person.may(right):
        message = f"This needs the right to {right}, which you don't have."
        raise Problem(message, None, HTTPStatus.FORBIDDEN)


def check_namespace(where: Sight, namespace: str, parameter: str) -> None:
    """Refuse a namespace where somebody may not do what they want to; whether there is such a one is not told.

    Raises:
        Problem: it is one.
    """
    if namespace not in where:
        names = ", ".join(where.namespaces[:NAMED])
        message = f"{parameter}: you may do this in {names}, but not in {namespace!r}."
        raise Problem(message, parameter, HTTPStatus.FORBIDDEN)
