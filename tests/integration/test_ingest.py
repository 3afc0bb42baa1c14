"""The ingest flow under faults that are caused: nothing lost, nothing twice, nobody delayed."""

from pathlib import Path

import psycopg
import pytest

from connectors.bootstrap import bootstrap
from connectors.embedded import EmbeddedNats, EmbeddedPostgres
from connectors.loopback import HOST, free_port
from flows import topology
from tests.ingestion import Ingest, assert_runs_agree, assert_whole, payload, publish_many, subject
from tests.scrape import metric, readiness
from tests.servers import StreamHandle, fresh_database, fresh_stream
from tests.waiting import PATIENCE_S, wait_until

MIB = 1024 * 1024
ALL = "SELECT seq, workflow_uid, kind, content, attrs FROM workflow_comms.agent_messages ORDER BY seq"


def test_a_message_from_a_bare_client_becomes_a_row_with_its_run(ingest: Ingest, stream: StreamHandle) -> None:
    stream.publish(subject(kind="status"), payload(1, content="started", timestamp="2026-11-24T10:00:00Z"))
    ingest.wait_for_rows(1)
    assert ingest.rows(
        "SELECT workflow_namespace, workflow_uid, workflow_name, state, messages, agents, last_content"
        " FROM workflow_comms.runs"
    ) == [("agents", "uid-0", "run-0", "running", 1, ["executor"], "started")]
    ingest.wait_until_drained()


def test_messages_that_waited_are_stored_in_the_order_of_their_runs(ingest: Ingest, stream: StreamHandle) -> None:
    publish_many(stream, range(5_000))
    ingest.wait_for_rows(5_000)
    for run in range(10):
        told = [content for _, uid, _, content, _ in ingest.rows(ALL) if uid == f"uid-{run}"]
        assert told == [f"message {number}" for number in range(run, 5_000, 10)]


def test_a_message_published_twice_is_one_row(ingest: Ingest, stream: StreamHandle) -> None:
    stream.publish(subject(), payload(1))
    ingest.wait_for_rows(1)
    ingest.wait_until_drained()
    ingest.kill()  # what the flow remembers is gone; the table isn't
    ingest.start()
    for _ in range(3):
        stream.publish(subject(), payload(1))
    stream.publish(subject(), payload(2))
    ingest.wait_for_rows(2)
    ingest.wait_until_drained()
    assert_whole(ingest, 2)


def test_sigterm_stores_and_acks_what_was_taken(ingest: Ingest, stream: StreamHandle) -> None:
    publish_many(stream, range(30_000))
    ingest.wait_for_rows(1)
    assert ingest.stop() == 0
    # Whatever was delivered is stored and acked: nothing waits for an ack wait to pass.
    # The server has read the acks by now, and may still be noting them; nobody else would ack anything.
    wait_until(lambda: stream.consumer().num_ack_pending == 0, "the acks to be noted")
    consumer = stream.consumer()
    assert consumer.delivered is not None
    assert ingest.count() == consumer.delivered.stream_seq
    ingest.start()
    ingest.wait_for_rows(30_000)
    ingest.wait_until_drained()
    assert_whole(ingest, 30_000)


def test_it_waits_for_postgres_and_goes_on_by_itself(
    stream: StreamHandle, own_postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with (
        fresh_database(own_postgres_server) as database,
        Ingest(stream, database, tmp_path / "ingest.log") as ingest,
    ):
        publish_many(stream, range(1_000))
        ingest.wait_for_rows(1_000)
        own_postgres_server.kill()
        publish_many(stream, range(1_000, 6_000))
        wait_until(lambda: "waits" in ingest.log.read_text(), "a word that a batch waits")
        assert ingest.is_running
        own_postgres_server.start()
        ingest.wait_for_rows(6_000)
        ingest.wait_until_drained()
        assert_whole(ingest, 6_000)
        assert "back after" in ingest.log.read_text()


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_restarted_nats_server_is_found_again(
    how: str, own_nats_server: EmbeddedNats, database: str, tmp_path: Path
) -> None:
    with fresh_stream(own_nats_server) as stream, Ingest(stream, database, tmp_path / "ingest.log") as ingest:
        publish_many(stream, range(5_000))
        if how == "restart":
            own_nats_server.restart()
        else:
            own_nats_server.kill()
            own_nats_server.start()
        stream.wait_until_reached()
        publish_many(stream, range(5_000, 6_000))
        ingest.wait_for_rows(6_000)
        ingest.wait_until_drained()
        assert_whole(ingest, 6_000)


def test_a_consumer_that_comes_late_is_waited_for(stream: StreamHandle, database: str, tmp_path: Path) -> None:
    jetstream = stream.connection.jetstream()
    stream.connection.run(jetstream.delete_consumer(stream.name, stream.durable))
    with Ingest(stream, database, tmp_path / "ingest.log") as ingest:
        stream.publish(subject(), payload(1))
        wait_until(lambda: "does it exist?" in ingest.log.read_text(), "a word that the consumer is missing")
        stream.connection.run(bootstrap(jetstream, topology.manifests()))
        ingest.wait_for_rows(1)


def test_bad_messages_become_dead_letters_and_delay_nobody(ingest: Ingest, stream: StreamHandle) -> None:
    bad = {
        "not_json": b"this is not JSON",
        "not_an_object": b"[]",
        "no_content": b"{}",
        "too_large": payload(0, content="x" * (MIB + 1)),
    }
    for number, data in enumerate(bad.values()):
        stream.publish(subject(), payload(number))
        stream.publish(subject(), data)
    stream.publish("workflow.not.a.known.shape", payload(8))
    stream.publish(subject(), payload(9, content="a\x00b"))
    largest = payload(10, content="")
    stream.publish(subject(), payload(10, content="y" * (MIB - len(largest))))
    ingest.wait_for_rows(6)
    ingest.wait_until_drained()
    assert ingest.is_running
    letters = ingest.rows(
        "SELECT reason, payload, subject, stream_seq FROM workflow_comms.dead_letters ORDER BY stream_seq"
    )
    assert [reason for reason, *_ in letters] == [*bad, "unknown_subject"]
    assert [bytes(data) for _, data, *_ in letters][:4] == list(bad.values())
    contents = [content for *_, content, _ in ingest.rows(ALL)]
    assert contents[:5] == [*(f"message {number}" for number in range(4)), "a�b"]
    assert len(contents[5]) == MIB - len(largest)


def test_bytes_that_are_no_text_in_subject_and_headers_end_nothing(ingest: Ingest, stream: StreamHandle) -> None:
    async def publish_raw() -> None:
        client = stream.connection.client
        data = payload(1)
        subject_line = b"PUB workflow.general.\xff\xfe %d\r\n%s\r\n" % (len(data), data)
        block = b"NATS/1.0 503 \xff\r\nX-Name: \xff\xfe\r\nno header\r\n: nameless\r\n\r\n"
        data = b""
        headers = b"HPUB %s %d %d\r\n%s%s\r\n" % (subject().encode(), len(block), len(block) + len(data), block, data)
        await client._send_command(subject_line + headers)
        await client.flush()

    stream.connection.run(publish_raw())
    stream.publish(subject(), payload(2))
    ingest.wait_for_rows(2)
    ingest.wait_until_drained()
    ((headers,),) = ingest.rows("SELECT headers FROM workflow_comms.dead_letters")
    # The server itself drops the words behind the version.
    assert headers == {"X-Name": "��"}


def test_a_row_that_postgres_refuses_is_put_aside_and_its_neighbours_stored(
    ingest: Ingest, stream: StreamHandle, database: str
) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "ALTER TABLE workflow_comms.agent_messages ADD CONSTRAINT no_poison CHECK (content <> 'poison')"
        )
    for number in range(200):
        stream.publish(subject(), payload(number, content="poison" if number == 77 else f"message {number}"))
    ingest.wait_for_rows(199)
    ingest.wait_until_drained()
    ((reason, detail, data),) = ingest.rows("SELECT reason, detail, payload FROM workflow_comms.dead_letters")
    assert reason == "refused_by_postgres"
    assert "no_poison" in detail
    assert bytes(data) == payload(77, content="poison")
    assert_runs_agree(ingest.database)


def test_three_flows_share_one_durable(stream: StreamHandle, database: str, tmp_path: Path) -> None:
    flows = [Ingest(stream, database, tmp_path / f"ingest-{number}.log") for number in range(3)]
    try:
        for flow in flows:
            flow.start()
        publish_many(stream, range(20_000))
        flows[0].wait_for_rows(20_000)
        flows[0].wait_until_drained()
        assert_whole(flows[0], 20_000)
        assert [flow.stop() for flow in flows] == [0, 0, 0]
    finally:
        for flow in flows:
            flow.close()


def test_two_workers_store_each_message_once(stream: StreamHandle, database: str, tmp_path: Path) -> None:
    with Ingest(stream, database, tmp_path / "ingest.log", "-w", "2") as ingest:
        publish_many(stream, range(10_000))
        ingest.wait_for_rows(10_000)
        ingest.wait_until_drained()
        assert_whole(ingest, 10_000)
        assert ingest.stop() == 0


def test_sigterm_ends_it_though_no_nats_server_answers(stream: StreamHandle, database: str, tmp_path: Path) -> None:
    nowhere = f"nats://{HOST}:{free_port()}"
    with Ingest(stream, database, tmp_path / "ingest.log", NATS_URL=nowhere) as ingest:
        wait_until(lambda: "nats:" in ingest.log.read_text(), "a word that no server answers")
        assert ingest.stop() == 0


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("DATABASE_URL", "postgresql://u:hunter2@[bad/x", "it takes a libpq URI or key=value words, but got a value"),
        ("AGENT_COMMS_REDACT_FILE", "/nowhere", "/nowhere: No such file or directory"),
        ("NATS_URL", "ftp://u:hunter2@nats", "it takes nats://HOST:PORT"),
        ("NATS_CA_FILE", "/dev/null", "/dev/null holds no certificate in PEM"),
    ],
)
def test_a_setting_that_cannot_work_is_one_line_without_its_secret(
    variable: str, value: str, line: str, stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    ingest = Ingest(stream, database, tmp_path / "ingest.log", **{variable: value})
    ingest.start()
    assert ingest.process.wait(timeout=PATIENCE_S) == 1
    (said,) = ingest.log.read_text().splitlines()
    assert said.startswith(f"agent-comms: {variable}: {line}")
    assert "hunter2" not in said


def test_a_wrong_setting_ends_it_at_the_start_with_one_line(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    ingest = Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_MAX_MESSAGE_BYTES="plenty")
    ingest.start()
    assert ingest.process.wait(timeout=PATIENCE_S) == 1
    (line,) = ingest.log.read_text().splitlines()
    words = "it takes a whole number from 1 to 1125899906842624, but got 'plenty'"
    assert line == f"agent-comms: AGENT_COMMS_MAX_MESSAGE_BYTES: {words}"


def test_a_flow_is_ready_once_nats_has_told_of_its_consumer_and_remains_so(
    own_nats_server: EmbeddedNats, database: str, tmp_path: Path
) -> None:
    port = free_port()
    with fresh_stream(own_nats_server) as stream:
        own_nats_server.stop()
        with Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_METRICS_PORT=str(port)):
            wait_until(lambda: metric(port, "agent_comms_connected/postgres") == 1, "it to be in Postgres")
            assert readiness(port) == (503, "waiting for NATS to tell of its consumer\n")
            own_nats_server.start()
            wait_until(lambda: readiness(port) == (200, "ready\n"), "it to be ready")
            own_nats_server.stop()
            wait_until(lambda: metric(port, "agent_comms_connected/nats") == 0, "it to have lost NATS")
            assert readiness(port) == (200, "ready\n")
            own_nats_server.start()
