"""The live streams through a real nginx, and two webs that are one behind it."""

import time
from statistics import median

from tests.nginx import PLAIN, UPGRADING, StartNginx
from tests.sockets import SocketClient
from tests.wandering import wander
from tests.watcher import Watcher, said
from tests.webserver import StartWeb
from tests.writers import Writer

SECONDS = 5.0


def test_events_come_through_nginx_as_they_are_said(
    start_web: StartWeb, start_nginx: StartNginx, database: str
) -> None:
    """With a configuration that knows nothing of streams: not buffered, not compressed, each at once."""
    web = start_web(DATABASE_URL=database, AGENT_COMMS_HEARTBEAT_SECONDS="1")
    # It speaks HTTP/1.0 to the web unless it is told otherwise.
    for directives in (PLAIN, UPGRADING, PLAIN + "gzip on; gzip_types text/event-stream; gzip_proxied any;"):
        nginx = start_nginx(web, directives=directives)
        with Writer(database) as writer, Watcher(nginx.url, runId="run-1", limit=1) as watcher:
            assert watcher.response.headers["Content-Type"] == "text/event-stream"
            assert watcher.response.headers["Cache-Control"] == "no-cache"
            assert "Content-Length" not in watcher.response.headers
            writer.say("first")
            watcher.hear("first")
            delays: list[float] = []
            for word in map(str, range(20)):
                began = time.monotonic()
                writer.say(word)
                assert said(watcher.take(1)) == [word]
                delays.append(time.monotonic() - began)
            # One of them may meet a busy machine.
            assert median(delays) < 1
            large = "x" * 1_000_000
            writer.say(large, large, "end")
            assert watcher.hear("end") == [large, large, "end"]
            # A quiet stream isn't taken for a dead one.
            watcher.take_comments(watcher.comments + 3)
        with Writer(database) as writer:
            writer.say("meanwhile")
        with Watcher(nginx.url, runId="run-1", last_id=watcher.last_id) as watcher:
            assert said(watcher.take(1)) == ["meanwhile"]


def test_a_web_that_ends_ends_its_streams_through_nginx_too(
    start_web: StartWeb, start_nginx: StartNginx, database: str
) -> None:
    web = start_web(DATABASE_URL=database)
    nginx = start_nginx(web, directives=PLAIN)
    with Watcher(nginx.url, runId="run-1") as watcher:
        watcher.take_comments(1)
        web.stop()
        assert watcher.rest() == []
        # The farewell, which says when to come again.
        assert len(watcher.retries) == 1


def test_sockets_come_through_nginx(start_web: StartWeb, start_nginx: StartNginx, database: str) -> None:
    nginx = start_nginx(start_web(DATABASE_URL=database), directives=UPGRADING)
    with Writer(database) as writer, SocketClient(nginx) as client:
        client.ask("subscribe", run="run-1")
        writer.say("one")
        assert client.hear("one") == ["one"]
        assert client.ask("ping") == {"op": "pong"}


def test_clients_that_wander_between_two_webs_see_everything_once_in_one_order(
    start_web: StartWeb, start_nginx: StartNginx, database: str
) -> None:
    """One minute of this is in tests/chaos."""
    nginx = start_nginx(*(start_web(DATABASE_URL=database) for _ in range(2)))
    wander(nginx.url, database, SECONDS)
