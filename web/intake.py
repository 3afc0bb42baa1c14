"""What every write must bring: JSON, from nobody else's page."""

import socket
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Request, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestEntityTooLarge

from web.problems import TOO_LARGE, Problem

JSON = "application/json"
CLOUD_EVENT = "application/cloudevents+json"
FORM = "application/x-www-form-urlencoded"
# A CloudEvent may come in its structured mode; in the binary mode it is JSON with headers beside.
_TAKES = {"writing.complete": (JSON, CLOUD_EVENT), "signin.sign_in": (FORM,)}
_NO_BODY_AT = ("signin.sign_out",)
_READ_ONLY = ("GET", "HEAD", "OPTIONS")
_PORTS = {"http": 80, "https": 443}
# What a browser says of a request that another site's page has made.
_FOREIGN = ("cross-site", "same-site")
# A client that sends nothing of its body for so long is given up.
BODY_S = 30.0
# Of a body that is too large so much is read on, that its client gets to read why.
_DISCARDED = TOO_LARGE
_PIECE = 64 * 1024


def install(app: Flask) -> None:
    """Have an app check each write before the route sees it."""
    app.before_request(_check)


def check_origin(asked: Request) -> None:
    """Refuse what the page of another site asks for: it would be done in the name of whoever looks at that page.

    Raises:
        Problem: it is.
    """
    origin = asked.headers.get("Origin")
    foreign = origin is not None and not _is_own(origin, asked.headers.get("Host", ""))
    if foreign or asked.headers.get("Sec-Fetch-Site") in _FOREIGN:
        message = "Origin is another site's; this may be asked for by pages of this server, or without a page."
        raise Problem(message, "Origin", HTTPStatus.FORBIDDEN)


def read_body() -> bytes:
    """Return the body.

    Raises:
        Problem: it breaks off, or is no body at all.
        RequestEntityTooLarge: it is too large, which is not known of chunks before they are there.
    """
    client: Any = request.environ.get("gunicorn.socket")
    if client is not None:
        client.settimeout(BODY_S)
    try:
        body = request.get_data(cache=False)
        if len(body) >= TOO_LARGE - 1 and _has_more():
            _hang_up(client)
            raise RequestEntityTooLarge
        return body
    except (OSError, ParseException) as error:
        # Where a next request would begin is not known.
        _hang_up(client)
        message = "body: it breaks off before its end, or its chunks are malformed."
        raise Problem(message, "body") from error
    finally:
        if client is not None:
            client.settimeout(None)


def _has_more() -> bool:
    """Whether a body goes on where it was cut, as its reader does without a word; some of the rest is read, too."""
    rest = request.environ["wsgi.input"]
    if not rest.read(1):
        return False
    with suppress(OSError, ParseException):
        for _ in range(_DISCARDED // _PIECE):
            if not rest.read(_PIECE):
                break
    return True


def _hang_up(client: Any) -> None:
    """Read nothing more of a connection, and end it once it was answered."""
    asked = getattr(getattr(request.environ["wsgi.input"], "reader", None), "req", None)
    if asked is not None:
        # What of the rest is here already would be taken for a request.
        asked.force_close()
    if client is not None:
        with suppress(OSError):
            client.shutdown(socket.SHUT_RD)


def _check() -> None:
    if request.method in _READ_ONLY or request.routing_exception is not None:
        return
    check_origin(request)
    if request.endpoint in _NO_BODY_AT:
        return
    takes = _TAKES.get(request.endpoint or "", (JSON,))
    if request.mimetype not in takes:
        got = repr(request.mimetype) if request.mimetype else "none"
        message = f"Content-Type: it takes {' or '.join(takes)}, but got {got}."
        raise Problem(message, "Content-Type", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def _is_own(origin: str, host: str) -> bool:
    # The scheme is not compared: it is the proxy's in front, which need not tell.
    try:
        theirs = urlsplit(origin)
        ours = urlsplit(f"//{host}")
        port = _PORTS[theirs.scheme]
        same = (theirs.hostname, theirs.port or port) == (ours.hostname, ours.port or port)
    except (KeyError, ValueError):
        return False
    return same and theirs.hostname is not None and not (theirs.path or theirs.query or theirs.username is not None)
