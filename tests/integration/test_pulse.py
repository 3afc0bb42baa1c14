"""What a flow says of itself, and what readers make of it."""

from tests.asking import get
from tests.ingestion import Ingest, publish_many
from tests.waiting import wait_until
from tests.webserver import StartWeb


def test_a_flow_at_work_is_fresh_and_one_that_was_killed_is_missed(ingest: Ingest, start_web: StartWeb) -> None:
    web = start_web(DATABASE_URL=ingest.database, NATS_URL=ingest.stream.url)
    wait_until(lambda: get(web, "/freshness")["state"] == "fresh", "the flow's first word")
    publish_many(ingest.stream, range(200))
    ingest.wait_for_rows(200)
    wait_until(
        lambda: ingest.rows("SELECT stored, received FROM workflow_comms.pulses") == [(200, 200)],
        "the flow to tell what it has stored",
    )
    told = get(web, "/freshness")
    assert told["waiting"] == 0
    assert told["stored_seconds_ago"] < 60
    ingest.kill()
    wait_until(lambda: get(web, "/freshness")["state"] == "down", "the flow to be missed", patience=30)
    assert get(web, "/freshness")["words"].startswith("nothing is being stored: the ingest stopped ")
