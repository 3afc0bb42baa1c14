"""What a flow says of itself, and what readers make of it."""

from tests.asking import get
from tests.ingestion import Ingest, publish_many, subject
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
    # The flow asks NATS every other second, so what it says may be from before.
    wait_until(lambda: get(web, "/freshness")["waiting"] == 0, "the flow to tell that nothing waits")
    assert get(web, "/freshness")["stored_seconds_ago"] < 60
    ingest.kill()
    wait_until(lambda: get(web, "/freshness")["state"] == "down", "the flow to be missed")
    assert get(web, "/freshness")["words"].startswith("nothing is being stored: the ingest stopped ")


def test_what_a_flow_has_received_is_told_to_the_last_message(ingest: Ingest, start_web: StartWeb) -> None:
    web = start_web(DATABASE_URL=ingest.database, NATS_URL=ingest.stream.url)
    publish_many(ingest.stream, range(200))
    ingest.wait_for_rows(200)
    publish_many(ingest.stream, range(60))
    for _ in range(11):
        ingest.stream.connection.run(ingest.stream.connection.client.publish(subject(0), b"no JSON"))

    def told() -> list[tuple[int, ...]]:
        names = ("received", "stored", "duplicates", "dead_letters")
        return [tuple(flow[name] for name in names) for flow in get(web, "/api/agents/flows")["flows"]]

    wait_until(lambda: told() == [(271, 200, 60, 11)], "the flow to tell what became of all")
