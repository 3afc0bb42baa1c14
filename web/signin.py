"""Signing in with a token and out again, for people: browsers send no token with a live stream, but a cookie."""

import re
import time
from contextlib import suppress
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl

from flask import Blueprint, Flask, Response, abort, current_app, g, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from flows.settings import Settings
from web.audit import Audit
from web.door import COOKIE, SECURE_COOKIE, Unknown, door, may, source
from web.intake import read_body
from web.limits import Limit
from web.person import Person, make_person
from web.problems import Problem, is_for_machines
from web.problems import answer as problem_answer
from web.rights import needs
from web.roster import Reader

bp = Blueprint("signin", __name__)

PATH = "/sign-in"
# Of one address; who comes with a token that is somebody's is not counted.
FAILURES_A_MINUTE = 10
# Of everybody; the audit log holds no more of them.
NOTED_A_MINUTE = 120
LONGEST_TOKEN = 1_000
FIELDS = 10
# Pages of ours, and nothing else that an address could lead to.
_OWN = re.compile(r"/agents(?:[/?][^\x00-\x20\x7f\\#]*)?")
FIRST = "/agents"


def install(app: Flask, settings: Settings) -> None:
    """Have an app sign people in, and answer with the form where it doesn't know who looks at a page."""
    app.extensions["failures"] = Limit(FAILURES_A_MINUTE, "Too many have tried to sign in. Try again later.")
    app.extensions["noted_failures"] = Limit(NOTED_A_MINUTE, "")
    app.register_error_handler(Unknown, _ask)
    app.context_processor(lambda: {"signed_in": _name(settings), "may_operate": may("operate")})
    app.register_blueprint(bp)


@bp.get(PATH)
@needs("open")
def show() -> str:
    """Show the form."""
    _exists()
    return _form(request.args.get("next", ""))


@bp.post(PATH)
@needs("open")
def sign_in() -> BaseResponse:
    """Take a token and give a cookie."""
    _exists()
    given = _read()
    token, following = given.get("token", ""), given.get("next", "")
    failures = cast("Limit", current_app.extensions["failures"])
    failures.check(source())
    reader = _reader(token.strip())
    if reader is None:
        failures.count(source())
        _note_refusal()
        return Response(_form(following, "Nobody has this token."), HTTPStatus.UNAUTHORIZED)
    _audit().note("signed-in", _person(reader), source())
    answer = Response(status=HTTPStatus.SEE_OTHER, headers={"Location": own_page(following)})
    # Another one each time: a cookie that somebody has planted is worth nothing.
    _set_cookie(answer, door().cookies.sign(reader, time.time()), door().cookies.life)
    return answer


def _note_refusal() -> None:
    """Note that somebody was refused; not without end, whatever the number of addresses that they come from."""
    noted = cast("Limit", current_app.extensions["noted_failures"])
    with suppress(Problem):
        noted.take("everybody")
        _audit().note("sign-in-refused", None, source())


@bp.post("/sign-out")
@needs("open")
def sign_out() -> BaseResponse:
    """Take the cookie back, and have it open nothing any longer, here and at other web processes."""
    _exists()
    who = door().end_session(request)
    if who is not None:
        _audit().note("signed-out", who, source())
    answer = Response(status=HTTPStatus.SEE_OTHER, headers={"Location": PATH})
    for name in (COOKIE, SECURE_COOKIE):
        answer.delete_cookie(name, secure=name == SECURE_COOKIE, httponly=True, samesite="Lax")
    return answer


def own_page(address: str) -> str:
    """Return where whoever has signed in goes on: a page of ours, whatever was asked for."""
    return address if _OWN.fullmatch(address) else FIRST


def _ask(error: Unknown) -> BaseResponse:
    if is_for_machines(request.path) or not door().takes_sign_in:
        return problem_answer(error)
    page = _form(request.full_path.removesuffix("?") if request.method == "GET" else "")
    return Response(page, HTTPStatus.UNAUTHORIZED, error.headers)


def _form(following: str, wrong: str | None = None) -> str:
    return render_template("sign_in.html", here="sign-in", recent=[], next=own_page(following), wrong=wrong)


def _exists() -> None:
    if not door().takes_sign_in:
        abort(HTTPStatus.NOT_FOUND)


def _read() -> dict[str, str]:
    try:
        return dict(parse_qsl(read_body().decode(errors="replace"), max_num_fields=FIELDS))
    except ValueError as error:
        message = f"body: it takes {FIELDS} fields at most."
        raise Problem(message, "body") from error


def _reader(token: str) -> Reader | None:
    roster = door().roster
    if roster is None or not 0 < len(token) <= LONGEST_TOKEN:
        return None
    roster.refresh()
    return roster.by_token(token)


def _person(reader: Reader) -> Person:
    return make_person(reader.name, "token", [(reader.namespaces, reader.rights)])


def _set_cookie(answer: BaseResponse, value: str, life: int) -> None:
    secure = _is_secure()
    name, other = (SECURE_COOKIE, COOKIE) if secure else (COOKIE, SECURE_COOKIE)
    if other in request.cookies:
        answer.delete_cookie(other, secure=other == SECURE_COOKIE, httponly=True, samesite="Lax")
    answer.set_cookie(name, value, max_age=life, path="/", secure=secure, httponly=True, samesite="Lax")


def _is_secure() -> bool:
    """Whether the browser came by TLS; whoever says so wrongly gets a cookie that is of no use to them."""
    origin = request.headers.get("Origin", "")
    told = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip()
    return request.is_secure or origin.startswith("https:") or told == "https"


def _name(settings: Settings) -> str | None:
    """Return who has signed in, for the head of a page that may show them out."""
    visit = g.get("visit")
    if settings.agent_comms_auth != "token" or visit is None or visit.person.how != "cookie":
        return None
    return cast("str", visit.person.name)


def _audit() -> Audit:
    return cast("Audit", current_app.extensions["audit"])
