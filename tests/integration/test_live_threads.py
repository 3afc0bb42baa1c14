"""The hub and its streams in threads, under a plain WSGI server, with a life that a test can wait for."""

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from flask import Flask
from simple_websocket import ConnectionClosed
from werkzeug.serving import BaseWSGIServer, make_server

from connectors.loopback import HOST
from flows.settings import Settings
from tests.sockets import SocketClient
from tests.waiting import wait_until
from tests.watcher import Watcher, said
from tests.writers import Writer
from web import close_app, create_app
from web.stream import Pace


@pytest.fixture
def server(database: str) -> Iterator[BaseWSGIServer]:
    app = create_app(Settings(database_url=database))
    app.extensions["pace"] = Pace(heartbeat=0.2, lifetime=60.0)
    server = make_server(HOST, 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    close_app(app)
    server.shutdown()
    thread.join()
    server.server_close()


def app(server: BaseWSGIServer) -> Flask:
    found = server.app
    assert isinstance(found, Flask)
    return found


def test_a_stream_ends_after_a_while_and_goes_on_where_it_was(server: BaseWSGIServer, database: str) -> None:
    url = f"http://{HOST}:{server.port}"
    app(server).extensions["pace"] = Pace(heartbeat=0.2, lifetime=2.0)
    heard: list[str] = []
    comments: list[int] = []
    last_id = None
    with Writer(database) as writer:
        writer.say("0")
        for word in ("1", "2", "3"):
            with Watcher(url, runId="run-1", last_id=last_id) as watcher:
                # Where this takes long it comes with the next one.
                writer.say(word)
                heard += said(watcher.rest())
                comments.append(watcher.comments)
                assert len(watcher.retries) == 2
                last_id = watcher.last_id
        with Watcher(url, runId="run-1", last_id=last_id) as watcher:
            heard += said(watcher.rest())
    assert heard == ["0", "1", "2", "3"]
    # It has said now and then that it lives, not only at its beginning.
    assert max(comments) > 1


def test_a_socket_ends_after_a_while_and_its_client_is_to_come_again(server: BaseWSGIServer, database: str) -> None:
    app(server).extensions["pace"] = Pace(heartbeat=0.2, lifetime=1.0)
    with Writer(database) as writer, SocketClient(server) as client:
        writer.say("1")
        # Its while may be over before this is sent.
        with suppress(ConnectionClosed):
            client.send("subscribe", run="run-1")
        assert client.end() == 1001


def test_many_threads_share_one_hub(server: BaseWSGIServer, database: str) -> None:
    url = f"http://{HOST}:{server.port}"
    with Writer(database) as writer:
        watchers = [Watcher(url, runId="run-1") for _ in range(20)]
        words = [str(n) for n in range(20)]
        for word in words:
            writer.say(word)
        for watcher in watchers:
            with watcher:
                assert said(watcher.take(20)) == words
    hub_threads = [thread for thread in threading.enumerate() if thread.name == "live"]
    assert len(hub_threads) == 1


def test_what_is_drained_ends_and_what_comes_later_ends_at_once(server: BaseWSGIServer) -> None:
    url = f"http://{HOST}:{server.port}"
    hub = app(server).extensions["hub"]
    with Watcher(url, runId="run-1") as watcher:
        watcher.take_comments(1)
        hub.drain()
        assert watcher.rest() == []
    with Watcher(url, runId="run-1") as watcher:
        assert watcher.rest() == []
    wait_until(lambda: not list(hub._watchers))
