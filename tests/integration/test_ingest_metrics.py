import socket
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from connectors.loopback import HOST, free_port
from tests.ingestion import Ingest, payload, subject
from tests.servers import StreamHandle
from tests.waiting import wait_until

SECRET = "ghp_" + "a1B2" * 9


def scrape(port: int) -> dict[str, float]:
    """Return the samples by name, with a label's value behind a slash."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics") as answer:
        text = answer.read().decode()
    return {
        "/".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_was_received_is_stored_a_duplicate_or_a_dead_letter(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    port = free_port()
    with Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_METRICS_PORT=str(port)) as ingest:
        for number in (1, 2, 2, 3):
            stream.publish(subject(), payload(number))
        stream.publish(subject(), payload(4, agent_id="reviewer", content=f"with {SECRET}"))
        stream.publish(subject(), b"not json")
        ingest.wait_for_rows(4)
        ingest.wait_until_drained()
        wait_until(lambda: scrape(port)["agent_comms_consumer_unacked_messages"] == 0, "a calm consumer")
        seen = scrape(port)
        assert seen["agent_comms_messages_received_total"] == 6
        assert seen["agent_comms_messages_stored_total"] == 4
        assert seen["agent_comms_messages_duplicate_total"] == 1
        assert seen["agent_comms_dead_letters_total/not_json"] == 1
        assert seen["agent_comms_claimed_identities_total"] == 1
        assert seen["agent_comms_redactions_total/github-token"] == 1
        assert seen["agent_comms_consumer_pending_messages"] == 0
        assert seen["agent_comms_oldest_unstored_seconds"] == 0
        assert seen["agent_comms_publish_to_row_seconds_count"] == 4
        assert seen["agent_comms_publish_to_row_seconds_bucket/60.0"] == 4
        assert 0 < seen["agent_comms_publish_to_row_seconds_sum"] < 4 * 60


def test_a_metrics_port_that_is_taken_is_a_warning(stream: StreamHandle, database: str, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_METRICS_PORT=str(port)) as ingest:
            stream.publish(subject(), payload(1))
            ingest.wait_for_rows(1)
            assert f"port {port} can't be had" in ingest.log.read_text()
