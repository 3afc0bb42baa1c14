"""Reading over the API where AGENT_COMMS_URL or AGENT_COMMS_TOKEN is wrong."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from connectors.loopback import HOST
from flows.settings import SettingError, Settings
from tests.webserver import WebServer
from web.doctor_processes import check_web
from web.failure import WRONG, Failure
from web.remote import Remote
from web.shelf import Wanted

WANTED = Wanted(run="my-run")
TOKEN = "agc_not-to-be-told"


class Other(BaseHTTPRequestHandler):
    """Answers to any path with a page, or with an event that is none."""

    def do_GET(self) -> None:
        kind, body = self.path.split("/")[1], b"<html>Hello"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if kind == "stream" else "text/html")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"id: 1\ndata: \xff\n\n" if kind == "stream" else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def other() -> Iterator[str]:
    with ThreadingHTTPServer((HOST, 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a",
        "ftp://a",
        "http://",
        "http://a:b",
        "http://a:99999",
        "http://a:0",
        "http://[::1",
        "http://a b",
        "http://a/é",
    ],
)
def test_an_address_that_is_none_names_the_setting(url: str) -> None:
    with pytest.raises(SettingError, match="AGENT_COMMS_URL"):
        Remote(url, None)


@pytest.mark.parametrize("end", ["\r", "\n", "\nX: y", "\0", "é", "\ud800"])
def test_a_token_that_no_header_takes_names_the_setting_and_is_not_told(end: str) -> None:
    with pytest.raises(SettingError, match="AGENT_COMMS_TOKEN") as raised:
        Remote("http://127.0.0.1:8080", TOKEN + end)
    assert TOKEN not in str(raised.value)


def test_another_server_is_told_from_ours(other: str) -> None:
    remote = Remote(f"{other}/page", None)
    for read in (lambda: remote.newest(WANTED, 1), lambda: remote.head(WANTED), lambda: next(remote.follow(WANTED, 0))):
        with pytest.raises(Failure, match="AGENT_COMMS_URL") as raised:
            read()
        assert raised.value.exit_code == WRONG


def test_the_address_of_a_page_is_told_from_the_webs(shared_web: WebServer) -> None:
    remote = Remote(f"{shared_web.url}/agents", None)
    for read in (lambda: remote.newest(WANTED, 1), lambda: remote.head(WANTED)):
        with pytest.raises(Failure, match=r"AGENT_COMMS_URL .* without the path of a page such as /agents") as raised:
            read()
        assert raised.value.exit_code == WRONG


def test_a_stream_that_says_what_is_no_event_ends_the_following(other: str) -> None:
    with pytest.raises(Failure, match="AGENT_COMMS_URL"):
        next(Remote(f"{other}/stream", None).follow(WANTED, 0))


def test_the_doctor_calls_no_other_server_ready(other: str) -> None:
    finding = check_web(Settings.from_env({"AGENT_COMMS_URL": other}))
    assert (finding.state, "is this the web of agent-comms?" in finding.text) == ("failing", True)
