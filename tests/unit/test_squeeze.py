"""What is compressed on its way, and what never is."""

import gzip

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from web import squeeze

TEXT = "A page of words. " * 500


@pytest.fixture
def client() -> FlaskClient:
    app = Flask(__name__)
    squeeze.install(app)

    @app.get("/<kind>/<sub>")
    def answer(kind: str, sub: str) -> Response:
        return Response(TEXT, mimetype=f"{kind}/{sub}")

    @app.get("/stream")
    def stream() -> Response:
        return Response(iter([TEXT]), mimetype="text/event-stream")

    @app.get("/small")
    def small() -> Response:
        return Response("Little.", mimetype="text/html")

    return app.test_client()


def asked(client: FlaskClient, path: str, encoding: str = "gzip, br") -> TestResponse:
    return client.get(path, headers={"Accept-Encoding": encoding})


def test_a_page_is_a_fraction_of_its_size(client: FlaskClient) -> None:
    response = asked(client, "/text/html")
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Vary"] == "Accept-Encoding"
    assert int(response.headers["Content-Length"]) == len(response.data) < len(TEXT) / 10
    assert gzip.decompress(response.data).decode() == TEXT


@pytest.mark.parametrize(
    ("path", "encoding"),
    [("/text/html", "identity"), ("/text/html", "gzip;q=0"), ("/small", "gzip"), ("/application/json", "gzip")],
)
def test_nothing_is_compressed_for_who_takes_none_nor_what_is_small_or_data(
    client: FlaskClient, path: str, encoding: str
) -> None:
    response = asked(client, path, encoding)
    assert "Content-Encoding" not in response.headers


def test_a_stream_is_never_compressed_nor_read_to_its_end(client: FlaskClient) -> None:
    response = asked(client, "/stream")
    assert "Content-Encoding" not in response.headers
    assert "Content-Length" not in response.headers
