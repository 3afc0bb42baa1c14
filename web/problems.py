"""Every error answer of the web, in one place: problem+json for the API, a page for people."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
import psycopg
from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge
from werkzeug.routing.exceptions import WebsocketMismatch

log = logging.getLogger(__name__)

# Bodies of so many bytes and more are refused.
TOO_LARGE = 9 * 1024 * 1024
_MACHINE_PATHS = ("/api/", "/healthz", "/readyz", "/metrics")
# What a page is called that is none, for a person.
_TITLES = {
    HTTPStatus.BAD_REQUEST: "This address says something wrong",
    HTTPStatus.FORBIDDEN: "You may not open this",
    HTTPStatus.NOT_FOUND: "Nothing is here",
    HTTPStatus.METHOD_NOT_ALLOWED: "This can't be done here",
    HTTPStatus.TOO_MANY_REQUESTS: "Too much at once",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something broke",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not available right now",
}


class Problem(Exception):
    """What is wrong with a request, in a sentence that names the field.

    Args:
        error: the sentence.
        parameter: the field's name.
        status: the answer's.
        headers: what else the answer says.
    """

    def __init__(
        self,
        error: str,
        parameter: str | None = None,
        status: int = HTTPStatus.BAD_REQUEST,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error)
        self.error = error
        self.parameter = parameter
        self.status = HTTPStatus(status)
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Return the RFC 9457 object."""
        fields: dict[str, object] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "error": self.error,
        }
        if self.parameter is not None:
            fields["parameter"] = self.parameter
        return msgspec.json.encode(fields)


def install(app: Flask) -> None:
    """Have an app answer its errors so, and refuse bodies that are too large."""
    app.config["MAX_CONTENT_LENGTH"] = TOO_LARGE - 1
    app.before_request(_refuse_large_body)
    app.register_error_handler(Problem, answer)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(psycopg.OperationalError, _answer_postgres_away)
    app.register_error_handler(psycopg.DataError, _answer_unfit)
    app.register_error_handler(Exception, _answer_failure)


def _refuse_large_body() -> None:
    if (request.content_length or 0) >= TOO_LARGE:
        raise RequestEntityTooLarge


def is_for_machines(path: str) -> bool:
    """Whether programs ask for a path, rather than people."""
    return path.startswith(_MACHINE_PATHS)


def answer(problem: Problem) -> Response:
    """Answer with a problem, to programs as an object, to people as a page."""
    if is_for_machines(request.path) or request.is_json:
        return Response(problem.body(), problem.status, problem.headers, mimetype="application/problem+json")
    page = render_template(
        "error.html",
        here="error",
        recent=[],
        status=problem.status.value,
        title=_TITLES.get(problem.status, problem.status.phrase),
        sentence=problem.error,
    )
    return Response(page, problem.status, problem.headers)


def _answer_http(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    if status < HTTPStatus.BAD_REQUEST:
        # A redirect, say to the address without a doubled slash.
        redirect = error.get_response()
        return Response(redirect.get_data(), status, redirect.headers)
    match error:
        case MethodNotAllowed():
            allowed = ", ".join(sorted(error.valid_methods or ()))
            sentence = f"This address takes {allowed}, but not {request.method}."
            return answer(Problem(sentence, None, status, {"Allow": allowed}))
        case RequestEntityTooLarge():
            return answer(Problem(f"The body is too large: it must be below {TOO_LARGE} bytes.", "body", status))
        case WebsocketMismatch() if request.headers.get("Upgrade", "").lower() != "websocket":
            sentence = (
                "Upgrade: this is a WebSocket. Connect to it by a client for WebSockets, or take the same events from"
                " /api/agents/events."
            )
            upgrade = {"Upgrade": "websocket"}
            return answer(Problem(sentence, "Upgrade", HTTPStatus.UPGRADE_REQUIRED, upgrade))
        case _ if status == HTTPStatus.NOT_FOUND:
            return answer(Problem("There is nothing at this address.", None, status))
        case _:
            return answer(Problem(str(error.description or status.description), None, status))


def _answer_postgres_away(error: psycopg.OperationalError) -> Response:
    log.warning("Postgres did not answer: %s", " ".join(str(error).split()), extra={"todo": "see to Postgres"})
    sentence = "The database doesn't answer at the moment. Try again in a few seconds."
    return answer(Problem(sentence, None, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "3"}))


def _answer_unfit(_: psycopg.DataError) -> Response:
    return answer(Problem("A value in the address is none that could be stored."))


def _answer_failure(error: Exception) -> Response:
    route = request.url_rule.rule if request.url_rule else "none"
    fields = {"path": request.path, "todo": "report it with this line"}
    log.error("%s %s failed", request.method, route, exc_info=error, extra=fields)
    return answer(Problem("This failed, and has been logged.", None, HTTPStatus.INTERNAL_SERVER_ERROR))
