"""The API's description, OpenAPI 3.1, made of the routes that there are and of the types that they answer with."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, cast

import msgspec
from flask import Blueprint, Flask, Response, current_app
from msgspec import Struct
from werkzeug.routing import Rule

from flows.completion import MOST_ARTIFACTS
from flows.message import CHANNEL_GENERAL, CHANNEL_RUN, Event
from web import api, parameters, reading
from web.account import Account
from web.archive import Quote, Sight
from web.completions import Queued
from web.door import COOKIE, Door
from web.freshness import Flow
from web.previews import Preview
from web.problems import TOO_LARGE
from web.queries import RunRow
from web.rights import need_of, needs

bp = Blueprint("openapi", __name__, url_prefix="/api")

JSON = "application/json"
PROBLEM = "application/problem+json"
# What is described besides everything below /api.
OPEN = ("/healthz", "/readyz", "/metrics")

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "maxLength": parameters.LONGEST}
_TIME: Schema = {"type": "string", "format": "date-time"}
_CURSOR: Schema = {"type": "string"}


def _choice(*words: str) -> Schema:
    return {"type": "string", "enum": [*words]}


def _count(default: int | None, most: int) -> Schema:
    schema: Schema = {"type": "integer", "minimum": 1}
    return {**schema, "default": default, "description": f"More than {most:,} counts as {most:,}."}


PARAMETERS: dict[str, tuple[str, Schema]] = {
    "runId": (
        "Any of a run's names: its run id, its uid or its workflow's name; in this order, then the newest.",
        _TEXT,
    ),
    "workflowUid": ("The workflow's uid.", _TEXT),
    "workflowName": ("The workflow's name.", _TEXT),
    "workflowNamespace": ("The namespace; narrows what a name means.", _TEXT),
    "channel": ("A run's own conversation, or the room that all share.", _choice(CHANNEL_RUN, CHANNEL_GENERAL)),
    "include": (
        "What the general channel says in the same place as well, marked as the claim it is; what was said in both is"
        " there once.",
        _choice(CHANNEL_GENERAL),
    ),
    "agentId": ("Who speaks: one agent, whose name may hold commas.", _TEXT),
    "kind": (f"Kinds, separated by commas; at most {parameters.MOST_WORDS}.", _TEXT),
    "repository": ("What `attrs.repository` says.", _TEXT),
    "issue": ("What `attrs.issueNumber` says.", _TEXT),
    "branch": ("What `attrs.branch` says.", _TEXT),
    "since": ("Then or later; UTC where it doesn't say.", _TIME),
    "until": ("Before then; UTC where it doesn't say.", _TIME),
    "errors": ("Errors, and results of tools that failed, alone.", _choice("0", "1")),
    "before": ("A cursor that a page gave: what comes before it.", _CURSOR),
    "after": ("A cursor that a page gave: what comes after it.", _CURSOR),
    "lastEventId": ("Go on after this event; the header `Last-Event-ID` says the same and comes first.", _TEXT),
    "html": ("Each event's data holds its fragment of a page too.", _choice("0", "1")),
    "state": ("The run's state; a running run that has been silent for long is stale.", _choice(*reading.STATES)),
    "format": (
        "A page, or all that is asked for, as JSON lines or as a Markdown transcript.",
        _choice(*reading.FORMATS),
    ),
    "reason": ("Given up for this reason.", _TEXT),
    "subject": ("On a subject that begins so.", _TEXT),
    "replayed": ("Those as well that have become rows since.", _choice("0", "1")),
}
_WORDS = "Words, each of which a message holds, in any case, also within a word; a phrase is put between quotes."
_RUN_WORDS = "What the run's name, uid or id, an agent of it or its last words hold."


class Operation(Struct, frozen=True):
    """What is said of a route beside its first line.

    Attributes:
        query: the names of its parameters.
        limit: how many it answers with where nothing is said, and at most.
        q: what its `q` looks through.
        answers: the media types of a good answer, and what they hold.
        status: of a good answer.
        body: what it takes.
        more: what else there is to say.
        not_found: whether what is named may not be there.
        limited: whether it is refused to who comes too often.
    """

    query: tuple[str, ...] = ()
    limit: tuple[int | None, int] | None = None
    q: str = _WORDS
    answers: dict[str, Schema] = {}
    status: HTTPStatus = HTTPStatus.OK
    body: dict[str, Schema] = {}
    more: str = ""
    not_found: bool = False
    limited: bool = False


def _ref(kind: type) -> Schema:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _list(name: str, items: Schema, **more: Schema) -> Schema:
    link = {"type": ["string", "null"], "format": "uri-reference"}
    cursors = {"prev": link, "next": link} if name == "messages" else {"next": link}
    fields: Schema = {name: {"type": "array", "items": items}, **cursors}
    return {"type": "object", "properties": {**fields, **more}, "required": [*fields]}


_STREAM = (
    "Server-sent events: the data of each is a message as `GET /api/agents/messages` has it, and its `id` the cursor"
    " that `Last-Event-ID` goes on after. `gap`, `stale` and the like have a name. The stream has no end of its own."
)

OPERATIONS: dict[str, Operation] = {
    "api.events": Operation(
        query=(*api.SCOPE, "include", "limit", "lastEventId", "html"),
        limit=(api.MESSAGES, api.MOST_HISTORY),
        answers={"text/event-stream": {"type": "string"}},
        more=_STREAM,
    ),
    "api.run_events": Operation(
        query=("workflowNamespace", "lastEventId"),
        answers={"text/event-stream": {"type": "string"}},
        more='Server-sent events: the data of each is `{"run": …}`.',
    ),
    "reading.messages": Operation(
        query=reading.MESSAGE_PARAMETERS,
        limit=(reading.MESSAGES, reading.MOST_MESSAGES),
        answers={
            JSON: _list("messages", {"anyOf": [_ref(Quote), _ref(Event)]}, search=_ref(Sight)),
            "application/jsonl": {"type": "string"},
            "text/markdown": {"type": "string"},
        },
        more=(
            "It takes a run, a namespace, a repository, an issue, a branch, words to look for or `channel=general`."
            " Where neither a run nor a channel is named, it is what runs and the general channel say."
            " Without a cursor it is the newest. `prev` and `next` are null at the ends. With `q` each message has its"
            " `matches`, and `search` says how much was seen. With another `format` than `json` it is everything that"
            " is asked for, the oldest first, or its newest `limit`."
        ),
    ),
    "reading.runs": Operation(
        query=reading.RUN_PARAMETERS,
        limit=(reading.RUNS, reading.MOST_RUNS),
        q=_RUN_WORDS,
        answers={JSON: _list("runs", _ref(RunRow))},
        more=(
            "`next` is null at the end. With `agentId` or `q` a page may be short, or empty, and yet lead on. `since`"
            " and `until` go by overlap: a run fits that said its last word then or later, its first word before then."
        ),
    ),
    "reading.one_run": Operation(
        query=("workflowNamespace",),
        answers={
            JSON: {
                "allOf": [
                    _ref(RunRow),
                    _ref(Account),
                    {
                        "type": "object",
                        "properties": {"others": {"type": "array", "items": _ref(RunRow)}},
                        "required": ["others"],
                    },
                ]
            }
        },
        not_found=True,
    ),
    "reading.dead_letters": Operation(
        query=reading.LETTER_PARAMETERS,
        limit=(reading.LETTERS, reading.MOST_LETTERS),
        answers={JSON: _list("dead_letters", _ref(Preview))},
    ),
    "reading.flow_words": Operation(
        answers={
            JSON: {
                "type": "object",
                "properties": {"flows": {"type": "array", "items": _ref(Flow)}},
                "required": ["flows"],
            }
        },
        more=(
            "What a flow received since it started is `stored`, or was already (`duplicates`), or could not become a"
            " row (`dead_letters`); the rest is in its hands."
        ),
    ),
    "writing.say": Operation(
        answers={
            JSON: {"type": "object", "properties": {"message_id": {"type": "string"}}, "required": ["message_id"]},
        },
        status=HTTPStatus.ACCEPTED,
        body={
            JSON: {
                "type": "object",
                "properties": {"content": {"type": "string"}, "channel": _choice(CHANNEL_RUN, CHANNEL_GENERAL)},
                "required": ["content"],
            }
        },
        limited=True,
        not_found=True,
        more='It takes a payload as runtimes publish it; `{"channel": "general", "content": …}` suffices.',
    ),
    "writing.complete": Operation(
        query=("workflowNamespace",),
        answers={JSON: _ref(Queued)},
        status=HTTPStatus.ACCEPTED,
        body={JSON: {"type": "object"}, "application/cloudevents+json": {"type": "object"}},
        more=f"Of one run {MOST_ARTIFACTS:,} artifacts are taken, with those that were told before.",
    ),
    "sockets.serve": Operation(
        status=HTTPStatus.SWITCHING_PROTOCOLS,
        more=(
            'A WebSocket: `{"op": "subscribe", "run": …}` or `"channel": "general"`, with `workflowNamespace`'
            " and `lastEventId`; `unsubscribe` by `id` or in the same words, `publish` with the fields of a message, of"
            " which `run` may be any name of a run, and `ping`."
        ),
    ),
    "openapi.describe": Operation(answers={JSON: {"type": "object"}}),
    "health.healthz": Operation(answers={JSON: {"type": "object"}}),
    "health.readyz": Operation(answers={JSON: {"type": "object"}}, more="503 with the same object where it is not."),
    "health.metrics": Operation(answers={"text/plain": {"type": "string"}}),
}


@bp.get("/openapi.json")
@needs("read")
def describe() -> Response:
    """Return this description."""
    body = msgspec.json.encode(document(current_app))
    return Response(body, mimetype=JSON, headers={"Cache-Control": "no-store"})


def document(app: Flask) -> Schema:
    """Return the description of an app's API."""
    paths: dict[str, Schema] = {}
    for rule in described(app):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            paths.setdefault(path, {})[method.lower()] = _operation(app, rule)
    _, schemas = msgspec.json.schema_components(
        [Event, Quote, Sight, RunRow, Account, Preview, Flow, Queued], ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "agent-comms",
            "version": version("agent-comms"),
            "description": "What coding agents that run as workflows say: stored, searched and live.",
        },
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": _PROBLEM},
            **({"securitySchemes": _WAYS_IN} if _asks(app) else {}),
        },
    }


def described(app: Flask) -> Iterator[Rule]:
    """Yield the routes that are described."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/") or rule.rule in OPEN:
            yield rule


_WAYS_IN: Schema = {
    "token": {"type": "http", "scheme": "bearer", "description": "As `agent-comms token` makes it."},
    "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "As `/sign-in` sets it."},
}

_PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457, with `error`: one sentence that names what is wrong.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "error": {"type": "string"},
        "parameter": {"type": "string"},
    },
    "required": ["type", "title", "status", "error"],
}


def _operation(app: Flask, rule: Rule) -> Schema:
    said = OPERATIONS[rule.endpoint]
    summary = (app.view_functions[rule.endpoint].__doc__ or "").strip().split("\n")[0]
    asked = [_path_parameter(name) for name in sorted(rule.arguments)]
    asked += [_parameter(name, said) for name in said.query]
    answers: dict[str, Schema] = {str(said.status.value): {"description": said.status.phrase, **_content(said.answers)}}
    statuses = [HTTPStatus.BAD_REQUEST] if said.query or said.body else []
    need = need_of(app, rule.endpoint)
    statuses += [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN] if need != "open" else []
    statuses += [HTTPStatus.NOT_FOUND] if said.not_found else []
    statuses += [HTTPStatus.TOO_MANY_REQUESTS] if said.limited else []
    if said.body:
        statuses += [HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE]
    statuses += [HTTPStatus.SERVICE_UNAVAILABLE]
    problem = _content({PROBLEM: {"$ref": "#/components/schemas/Problem"}})
    for status in statuses:
        answers[str(status.value)] = {"description": status.phrase, **problem}
    if rule.endpoint == "health.readyz":
        answers[str(HTTPStatus.SERVICE_UNAVAILABLE.value)] = {"description": "Not ready", **_content(said.answers)}
    answers["default"] = {"description": "Anything else", **problem}
    operation: Schema = {
        "operationId": rule.endpoint.replace(".", "_"),
        "summary": summary.rstrip("."),
        "description": said.more or summary,
        "parameters": asked,
        "responses": answers,
    }
    if _asks(app):
        operation["security"] = [] if need == "open" else [{"token": []}, {"cookie": []}]
    if need != "open":
        operation["description"] += f" It needs the right to {need}."
    if said.body:
        operation["requestBody"] = {
            "required": True,
            "description": f"Below {TOO_LARGE:,} bytes.",
            **_content(said.body),
        }
    return operation


def _asks(app: Flask) -> bool:
    """Whether people are asked who they are; where they aren't, what they say of it counts for nothing."""
    return cast("Door", app.extensions["door"]).roster is not None


def _parameter(name: str, said: Operation) -> Schema:
    if name == "limit":
        default, most = said.limit or (None, 1)
        return {"name": name, "in": "query", "description": "How many.", "schema": _count(default, most)}
    description, schema = (said.q, _TEXT) if name == "q" else PARAMETERS[name]
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _path_parameter(name: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": PARAMETERS["runId"][0],
        "schema": {"type": "string", "minLength": 1},
    }


def _content(kinds: dict[str, Schema]) -> Schema:
    return {"content": {kind: {"schema": schema} for kind, schema in kinds.items()}} if kinds else {}
