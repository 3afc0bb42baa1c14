"""The API's description is true, and nothing that it allows or forbids breaks the server."""

import re
from typing import Any

import jsonschema
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from flows.settings import Settings
from tests.asking import ask, get, refused
from tests.servers import StreamHandle
from tests.waiting import wait_until
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer
from web import create_app, openapi

DESCRIPTION = "/api/openapi.json"
# Of each operation.
EXAMPLES = 20
CHECKS: list[CheckFunction] = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def said(web: WebServer, writer: Writer) -> None:
    """Give every list something to answer with."""
    tool = {"name": "shell", "input": {"command": "ls"}, "exit_code": 0}
    writer.say("hello", run="x", attrs={"tool": tool, "repository": "org/shop"}, stage="build")
    writer.say("hello", run="y", channel="general", kind="error")
    with psycopg.connect(web.database) as connection:
        connection.execute("TRUNCATE workflow_comms.dead_letters")
        connection.execute(
            "INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key)"
            " VALUES ('workflow.x', 'x', 'not_json', 'why', 'x')"
        )


def test_every_route_is_described_and_no_other() -> None:
    assert {rule.endpoint for rule in openapi.described(create_app(Settings()))} == set(openapi.OPERATIONS)


def test_the_parameters_are_those_that_the_route_takes(web: WebServer) -> None:
    document = get(web, DESCRIPTION)
    seen = 0
    for path, item in document["paths"].items():
        known = [
            parameter["name"] for parameter in item.get("get", {}).get("parameters", []) if parameter["in"] == "query"
        ]
        if known:
            problem = refused(ask(web, re.sub(r"\{\w+\}", "x", path), **{"no-such-parameter": "x"}))  # type: ignore[arg-type]
            assert problem["error"] == f"no-such-parameter is no parameter here; these are: {', '.join(known)}."
            seen += 1
    assert seen == 6


def schema_of(document: dict[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    return {**found, "components": document["components"]}


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/api/agents/messages", "?runId=x"),
        ("/api/agents/messages", "?q=hello"),
        ("/api/agents/messages", "?channel=general"),
        ("/api/agents/messages", "?runId=nobody"),
        ("/api/agents/runs", ""),
        ("/api/agents/runs/{run}", "x"),
        ("/api/agents/dead-letters", ""),
        ("/api/agents/flows", ""),
    ],
)
def test_answers_hold_what_is_described_and_nothing_else(web: WebServer, path: str, asked: str) -> None:
    document = get(web, DESCRIPTION)
    answer = get(web, path.replace("{run}", asked) if "{" in path else path + asked)
    schema = schema_of(document, path)
    jsonschema.Draft202012Validator(schema).validate(answer)
    described_keys = set(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        named = document["components"]["schemas"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        described_keys |= set(named["properties"])
    assert set(answer) <= described_keys
    for kind, key in (
        ("Quote" if "q=" in asked else "Event", "messages"),
        ("RunRow", "runs"),
        ("Preview", "dead_letters"),
    ):
        for item in answer[key] if path.endswith(key.replace("_", "-")) else ():
            assert set(item) == set(document["components"]["schemas"][kind]["properties"])


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: f"{mode.value} data")
def test_nothing_that_can_be_asked_breaks_what_is_described(
    start_web: StartWeb, database: str, stream: StreamHandle, mode: GenerationMode
) -> None:
    web = start_web(DATABASE_URL=database, NATS_URL=stream.url)
    wait_until(lambda: ask(web, "/readyz")[0].status == 200, "a web that is ready")
    with Writer(database) as writer:
        writer.say("hello", attrs={"tool": {"name": "shell", "exit_code": 0}})
    # A stream has no end to wait for, and a socket is no request.
    document = get(web, DESCRIPTION)
    api = schemathesis.openapi.from_dict(document).exclude(path_regex="/(events|ws)$")
    operations: list[Any] = [found.ok() for found in api.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == len(openapi.OPERATIONS) - 3
    for operation in operations:
        described = document["paths"][operation.path][operation.method]
        if mode == GenerationMode.NEGATIVE and not (described["parameters"] or "requestBody" in described):
            # Nothing can be wrong.
            continue

        @given(operation.as_strategy(generation_mode=mode))
        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def holds(case: schemathesis.Case[Any]) -> None:
            response = case.call_and_validate(base_url=web.url, checks=CHECKS)
            # What is published may be spelled in other ways than the described one; an empty parameter is none.
            tolerated = case.method == "POST" or "" in (case.query or {}).values()
            assert mode == GenerationMode.POSITIVE or tolerated or 400 <= response.status_code < 500

        holds()
