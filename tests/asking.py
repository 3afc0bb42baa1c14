"""Asking the API for what is stored, and reading its answers."""

import json
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlencode

from connectors.loopback import HOST
from tests.waiting import PATIENCE_S
from tests.webserver import WebServer


def ask(
    web: WebServer, path: str, method: str = "GET", headers: dict[str, str] | None = None, **query: Any
) -> tuple[HTTPResponse, bytes]:
    with closing(HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
        connection.request(method, f"{path}?{urlencode(query)}" if query else path, headers=headers or {})
        response = connection.getresponse()
        return response, response.read()


def get(web: WebServer, path: str, **query: Any) -> Any:
    response, body = ask(web, path, **query)
    assert response.status == 200, body
    assert response.headers["Content-Type"] == "application/json"
    return json.loads(body)


def refused(answer: tuple[HTTPResponse, bytes]) -> dict[str, Any]:
    response, body = answer
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(body)
    assert problem["status"] == response.status
    assert problem["error"]
    return problem


def contents(page: dict[str, Any]) -> list[str]:
    return [message["content"] for message in page["messages"]]
