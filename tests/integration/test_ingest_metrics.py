import socket
import time
from pathlib import Path

from connectors.loopback import HOST, free_port
from tests.ingestion import Ingest, administer, holding, payload, publish_many, subject
from tests.scrape import labels, metric, open_metrics, scrape
from tests.servers import StreamHandle
from tests.waiting import wait_until

SECRET = "ghp_" + "a1B2" * 9


def test_what_was_received_is_stored_a_duplicate_or_a_dead_letter(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    port = free_port()
    with Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_METRICS_PORT=str(port)) as ingest:
        for number in (1, 2, 2, 3):
            stream.publish(subject(), payload(number))
        stream.publish(subject(), payload(4, agent_id="reviewer", content=f"with {SECRET}"))
        stream.publish(subject(), b"not json")
        stream.publish(subject(), f"not json, with {SECRET} and {SECRET}, api_key=0123456789abcdef".encode())
        ingest.wait_for_rows(4)
        ingest.wait_until_drained()
        expected = {
            "agent_comms_messages_received_total": 7,
            "agent_comms_messages_stored_total": 4,
            "agent_comms_messages_duplicate_total": 1,
            "agent_comms_dead_letters_total/not_json": 2,
            "agent_comms_claimed_identities_total": 1,
            "agent_comms_redactions_total/github-token": 2,
            "agent_comms_redactions_total/named": 1,
            # The server is asked for these now and then.
            "agent_comms_consumer_unacked_messages": 0,
            "agent_comms_consumer_pending_messages": 0,
            "agent_comms_oldest_unstored_seconds": 0,
            "agent_comms_publish_to_row_seconds_count": 4,
            "agent_comms_publish_to_row_seconds_bucket/+Inf": 4,
        }
        wait_until(lambda: scrape(port).items() >= expected.items(), f"{expected}")
        assert 0 < scrape(port)["agent_comms_publish_to_row_seconds_sum"] < 4 * 600


def test_a_metrics_port_that_is_taken_is_a_warning(stream: StreamHandle, database: str, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_METRICS_PORT=str(port)) as ingest:
            stream.publish(subject(), payload(1))
            ingest.wait_for_rows(1)
            ingest.wait_until_said(f"port {port} can't be had")


def test_what_is_delivered_again_is_counted(stream: StreamHandle, database: str, tmp_path: Path) -> None:
    port = free_port()
    ingest = Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_METRICS_PORT=str(port))
    with ingest, holding(database, "LOCK workflow_comms.agent_messages IN EXCLUSIVE MODE"):
        publish_many(stream, range(20))
        wait_until(lambda: metric(port, "agent_comms_messages_received_total") == 20, "the messages")
        assert metric(port, "agent_comms_messages_redelivered_total") == 0
        ingest.kill()
    stream.set_ack_wait(3.0)
    with ingest:
        ingest.wait_until_drained()
        # Each of them once more, or oftener where this takes longer than the ack wait.
        wait_until(
            lambda: metric(port, "agent_comms_messages_redelivered_total") == stream.redeliveries() >= 20,
            "as many as the server counts",
        )


def test_the_oldest_message_without_a_row_is_as_old_as_it_is_however_long_all_was_quiet(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    port = free_port()
    with Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_METRICS_PORT=str(port)) as ingest:
        stream.publish(subject(), payload(1))
        ingest.wait_for_rows(1)
        wait_until(lambda: metric(port, "agent_comms_consumer_unacked_messages") == 0, "a calm consumer")
        quiet_since = time.time()
        wait_until(lambda: time.time() - quiet_since > 5, "a quiet while")
        with holding(database, "LOCK workflow_comms.agent_messages IN EXCLUSIVE MODE"):
            stream.publish(subject(), payload(2))
            published_at = time.time()
            wait_until(lambda: metric(port, "agent_comms_consumer_unacked_messages") == 1, "the message on its way")
            age = metric(port, "agent_comms_oldest_unstored_seconds")
            # Not since the one before it.
            assert age <= time.time() - published_at + 3.5
            wait_until(lambda: metric(port, "agent_comms_oldest_unstored_seconds") > 1, "its age to grow")
        wait_until(lambda: metric(port, "agent_comms_oldest_unstored_seconds") == 0, "it to be stored")


def test_a_postgres_that_refuses_shows_why_and_not_as_a_connection_that_is_down(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    port = free_port()
    with Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_METRICS_PORT=str(port)) as ingest:
        administer(database, "ALTER TABLE workflow_comms.agent_messages RENAME TO gone")
        stream.publish(subject(), payload(1))
        wait_until(lambda: metric(port, "agent_comms_store_waits/42") == 1, "the failure")
        for to in ("postgres", "nats"):
            wait_until(lambda: metric(port, f"agent_comms_connected/{to}") == 1, "the connection")  # noqa: B023
        wait_until(lambda: metric(port, "agent_comms_store_failures_total/42") >= 1, "the count of failures")
        administer(database, "ALTER TABLE workflow_comms.gone RENAME TO agent_messages")
        ingest.wait_for_rows(1)
        wait_until(lambda: metric(port, "agent_comms_store_waits/42") == 0, "the row")
        assert metric(port, "agent_comms_connected/postgres") == 1


def test_the_flow_speaks_openmetrics_with_bytewax_own_beside_and_names_no_run_and_no_agent(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    port = free_port()
    environ = {
        "AGENT_COMMS_METRICS_PORT": str(port),
        "BYTEWAX_DATAFLOW_API_ENABLED": "1",
        "BYTEWAX_DATAFLOW_API_PORT": str(free_port()),
        "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(tmp_path),
    }
    with Ingest(stream, database, tmp_path / "ingest.log", **environ) as ingest:
        publish_many(stream, range(200), runs=50)
        ingest.wait_for_rows(200)
        wait_until(lambda: metric(port, "agent_comms_messages_stored_total") == 200, "the messages")
        assert {"agent_comms_messages_stored", "bytewax_item_out_count"} <= {
            family.name for family in open_metrics(port)
        }
        ours = {value for name, value in labels(port) if name not in ("le", "quantile")}
        assert not [value for value in ours if "uid" in value or value == "executor"]
        assert len(ours) < 100
