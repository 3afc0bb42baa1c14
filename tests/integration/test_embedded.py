import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from connectors.embedded import EmbeddedNats, EmbeddedPostgres
from connectors.loopback import HOST
from connectors.server import Server, ServerError
from tests.processes import is_running
from tests.servers import FAST, NatsServer, PostgresServer, StreamHandle, fresh_stream
from tests.waiting import wait_until

AWKWARD = 'it\'s a "folder" \\ with spaces'
SUBJECT = "workflow.general.message"


def servers(folder: Path) -> tuple[Server, Server]:
    return EmbeddedNats(folder / "nats"), EmbeddedPostgres(folder / "postgres", settings=FAST)


def test_nats_keeps_port_and_messages_over_restarts_and_kills(own_nats_server: NatsServer) -> None:
    port = own_nats_server.port
    with fresh_stream(own_nats_server) as stream:
        stream.publish(SUBJECT, b"before")
    own_nats_server.restart()
    own_nats_server.kill()
    own_nats_server.start()
    assert own_nats_server.port == port
    stream = StreamHandle(own_nats_server)
    assert stream.info().state.messages == 1
    stream.close()


def test_nats_takes_messages_of_more_than_a_mebibyte(stream: StreamHandle) -> None:
    assert stream.publish(SUBJECT, b"x" * 2 * 1024 * 1024) == 1


def test_postgres_keeps_port_and_commits_over_restarts_and_kills(own_postgres_server: PostgresServer) -> None:
    before = own_postgres_server.dsn()
    with psycopg.connect(before, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
    own_postgres_server.restart()
    own_postgres_server.kill()
    own_postgres_server.start()
    assert own_postgres_server.dsn() == before
    with psycopg.connect(before) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (42,)


def test_postgres_starts_though_a_killed_one_has_left_its_backends(own_postgres_server: PostgresServer) -> None:
    left = psycopg.connect(own_postgres_server.dsn())
    own_postgres_server.kill()
    own_postgres_server.start()
    left.close()
    with psycopg.connect(own_postgres_server.dsn()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_postgres_lets_nobody_in_without_the_password(postgres_server: PostgresServer) -> None:
    port, password = postgres_server.port, postgres_server.password
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://agent_comms:{password[::-1]}x@{HOST}:{port}/postgres")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://agent_comms@{HOST}:{port}/postgres")


def test_only_its_owner_reads_the_password(postgres_server: PostgresServer) -> None:
    file = postgres_server.folder / "password"
    assert file.stat().st_mode & 0o777 == 0o600
    assert postgres_server.data.stat().st_mode & 0o077 == 0


def test_postgres_sorts_and_folds_the_same_on_every_system(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.dsn()) as connection:
        row = connection.execute(
            "SELECT datlocprovider, datlocale, pg_encoding_to_char(encoding), lower('ÄÖ'),"
            " current_setting('data_checksums') FROM pg_database WHERE datname = 'postgres'"
        ).fetchone()
    assert row == ("b", "C.UTF-8", "UTF8", "äö", "on")


def test_nobody_else_can_reach_them(nats_server: NatsServer, postgres_server: PostgresServer) -> None:
    # The machine's other addresses, of which this is one: a server on all of them would answer.
    for server in (nats_server, postgres_server):
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", server.port), timeout=5):
            pass


def test_they_work_in_a_folder_with_an_awkward_name_that_nobody_else_can_open(tmp_path: Path) -> None:
    closed = tmp_path / AWKWARD
    closed.mkdir(mode=0o700)
    for server in servers(closed):
        with server:
            assert server.is_ready()
    assert (closed / "nats" / "jetstream").is_dir()
    assert (closed / "postgres" / "data" / "PG_VERSION").is_file()


def test_what_an_interrupted_start_left_behind_is_no_cluster(tmp_path: Path) -> None:
    unfinished = tmp_path / "data.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path, settings=FAST) as server:
        assert server.is_ready()
    assert not unfinished.exists()


@pytest.mark.parametrize("place", [0, 1], ids=["nats", "postgres"])
def test_a_taken_port_is_one_line(tmp_path: Path, place: int) -> None:
    server = servers(tmp_path)[place]
    with socket.create_server((HOST, server.port)), pytest.raises(ServerError, match="did not start") as caught:
        server.start()
    assert "\n" not in str(caught.value)
    assert any(word in str(caught.value) for word in ("in use", "could not create any TCP/IP sockets"))


def test_another_server_on_the_port_is_not_taken_for_ours(tmp_path: Path, nats_server: NatsServer) -> None:
    with pytest.raises(ServerError, match="in use"):
        EmbeddedNats(tmp_path, nats_server.port).start()


def test_a_server_outlives_the_thread_that_restarted_it(own_nats_server: NatsServer) -> None:
    thread = threading.Thread(target=own_nats_server.restart)
    thread.start()
    thread.join()
    assert all(own_nats_server.is_ready() for _ in range(50))
    assert "Initiating Shutdown" not in own_nats_server.log_file.read_text().rpartition("Server is ready")[2]


def test_they_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.integration.test_embedded import servers\n"
        "print(*[server.start().pid for server in servers(Path(sys.argv[1]))], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_running, pids))
        starter.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, pids)), "the servers to end")
