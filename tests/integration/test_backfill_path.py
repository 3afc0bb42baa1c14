"""The whole path: a file followed live through an outage of NATS, stored by the flow, filled up by a backfill."""

from pathlib import Path

from tests.artifacts import Archive, Row, Stored, completion, recover
from tests.ingestion import Ingest, assert_runs_agree
from tests.proxy import Proxy
from tests.servers import PostgresServer, StreamHandle, fresh_database
from tests.sidecar import Sidecar, append, talk
from tests.waiting import wait_until

LINES = [line.encode() for line in talk(60)]
OUTAGE = slice(len(LINES) // 3, 2 * len(LINES) // 3)


def said(stored: Stored) -> list[Row]:
    """Kind, role, content, tool and key of whatever a line has said, in reading order."""
    return stored.ask(
        "SELECT kind, role, content, attrs -> 'tool', dedupe_key FROM workflow_comms.agent_messages"
        " WHERE attrs ? 'line' ORDER BY timestamp, seq"
    )


def test_what_an_outage_of_nats_has_cost_is_filled_in_and_nothing_else(
    ingest: Ingest,
    stream: StreamHandle,
    database: str,
    stored: Stored,
    postgres_server: PostgresServer,
    archive: Archive,
    tmp_path: Path,
) -> None:
    path = tmp_path / "implementation-events.jsonl"
    with Proxy(stream.server.port) as proxy:
        sidecar = Sidecar(
            tmp_path / "sidecar",
            proxy.instead(stream.url),
            *("--codex-events", path, "--grace", "5"),
            # An outage is longer than there is room for.
            AGENT_COMMS_SPOOL_BYTES="20000",
        )
        with sidecar:
            for upto in range(20, OUTAGE.start, 20):
                append(path, *LINES[upto - 20 : upto])
                wait_until(lambda: len(said(stored)) >= upto // 2, "the first rows")  # noqa: B023
            with proxy.away():
                append(path, *LINES[upto : OUTAGE.stop])
                wait_until(lambda: sidecar.lines_read() >= OUTAGE.stop, "the file to be read")
            append(path, *LINES[OUTAGE.stop :])
            wait_until(lambda: sidecar.lines_read() >= len(LINES), "the file to be read")
            assert sidecar.stop() == 0
    ingest.wait_until_drained()
    live = said(stored)
    key = archive.add("run-1", LINES)
    archive.complete(completion("run-1", [key], uid="uid-1"))
    report = recover(database, archive.folder)["uid-1"].report
    with fresh_database(postgres_server) as other:
        recover(other, archive.folder)
        alone = said(Stored(other))
    assert report is not None
    assert 0 < len(live) < len(alone), "there were no holes"
    assert report.inserted == len(alone) - len(live)
    assert said(stored) == alone
    assert_runs_agree(database)
