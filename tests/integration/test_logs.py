"""What the programs log: as they should where all is well, and once where it isn't."""

import json
from pathlib import Path
from typing import Any

from connectors.loopback import free_port
from tests.ingestion import POISON, Ingest, poison_with, publish_many, subject
from tests.scrape import metric
from tests.servers import StreamHandle
from tests.waiting import wait_until
from tests.webserver import StartWeb


def lines(text: str) -> list[dict[str, Any]]:
    """Read a log of JSON lines; a line that is none fails."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_flow_that_is_well_says_that_it_starts_pulls_drains_and_has_ended(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    with Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_LOG_FORMAT="json") as ingest:
        publish_many(stream, range(300))
        ingest.wait_for_rows(300)
        ingest.wait_until_drained()
        assert ingest.stop() == 0
        said = lines(ingest.said)
    assert [line["level"] for line in said] == ["info"] * 4
    assert [line["message"].partition(" consumer")[0] for line in said] == [
        "ingest: starts",
        "source: pulling from",
        "source: no more is pulled; what was taken is handed on",
        "ingest: has ended",
    ]
    assert said[0]["version"]


def test_a_web_that_is_well_says_no_more_than_that_it_starts_and_ends(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database, AGENT_COMMS_LOG_FORMAT="json")
    web.stop()
    said = [line for line in lines(web.log()) if line["logger"] != "connectors.connection"]
    assert said
    assert {line["level"] for line in said} == {"info"}
    assert len(said) < 12


def test_many_dead_letters_are_one_line_with_the_place_of_the_first_and_what_to_do(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    port = free_port()
    environ = {"AGENT_COMMS_LOG_FORMAT": "json", "AGENT_COMMS_METRICS_PORT": str(port)}
    with Ingest(stream, database, tmp_path / "ingest.log", **environ) as ingest:
        first = stream.publish(subject(), b"not json")
        wait_until(lambda: "not_json" in ingest.said, "the first to be told")
        for number in range(1, 8):
            # One by one, so that each is a batch.
            wait_until(lambda: len(ingest.rows("SELECT FROM workflow_comms.dead_letters")) == number, "it to be kept")  # noqa: B023
            stream.publish(subject(), b"not json either")
        ingest.wait_until_drained()
        (told,) = [line for line in lines(ingest.said) if line["level"] == "warning"]
        wait_until(lambda: metric(port, "agent_comms_log_lines_total/warning") >= 8, "the others to be counted")
    assert told["message"] == "a message can't become a row: not_json"
    assert told["stream_seq"] == first
    assert told["subject"] == subject()
    assert "dead-letters" in told["todo"]


def test_a_message_that_postgres_refuses_is_told_with_its_run_and_its_id(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    poison_with(database, "RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'no'")
    with Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_LOG_FORMAT="json") as ingest:
        publish_many(stream, range(20), runs=1, poison={7})
        ingest.wait_for_rows(19)
        ingest.wait_until_drained()
        (told,) = [line for line in lines(ingest.said) if line["message"].startswith("Postgres refuses")]
    assert told["run"] == "agents/uid-0"
    assert told["message_id"] == "m-7"
    assert POISON not in json.dumps(told)
