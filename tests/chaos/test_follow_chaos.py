"""Streams of agents, played at speed while NATS is restarted and the sidecar killed.

`CODEX_STREAMS` names a folder with real streams, `*.jsonl`; without it a made-up one is played.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.embedded import EmbeddedNats, EmbeddedPostgres
from flows.codex import artifact_name
from flows.redact import Redactor
from tests.ingestion import Ingest
from tests.servers import fresh_database, fresh_stream
from tests.sidecar import Sidecar, mapped, talk
from tests.waiting import wait_until

STREAMS = sorted(Path(os.environ["CODEX_STREAMS"]).glob("*.jsonl")) if "CODEX_STREAMS" in os.environ else []
MADE_UP = Path("made up")
ROWS = """
    SELECT attrs->'line', kind, content FROM workflow_comms.agent_messages
    WHERE channel = 'run' AND workflow_uid = 'uid-1' AND attrs ? 'line' ORDER BY timestamp, seq
"""


@pytest.fixture
def ingest(own_nats_server: EmbeddedNats, postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Ingest]:
    with (
        fresh_stream(own_nats_server) as stream,
        fresh_database(postgres_server) as database,
        Ingest(stream, database, tmp_path / "ingest.log") as flow,
    ):
        yield flow


@pytest.mark.parametrize("played", STREAMS or [MADE_UP], ids=lambda path: path.stem)
def test_every_line_is_a_row_once_and_in_order_whatever_is_restarted_and_killed(
    own_nats_server: EmbeddedNats, ingest: Ingest, tmp_path: Path, played: Path
) -> None:
    data = "".join(f"{line}\n" for line in talk(2000)).encode() if played == MADE_UP else played.read_bytes()
    redactor = Redactor()
    told = mapped(data.split(b"\n"), artifact_name(str(played)))
    expected = [(line, kind, redactor.text(said, set())) for line, kind, said in told]
    path = tmp_path / played.with_suffix(".jsonl").name
    with Sidecar(tmp_path / "sidecar", own_nats_server.url, "--codex-events", path) as sidecar:

        def kill() -> None:
            sidecar.kill()
            sidecar.start()

        faults = [own_nats_server.restart, kill, kill, own_nats_server.restart]
        # Pieces end anywhere, in the middle of a line or a character.
        for number, piece in enumerate(_pieces(data, len(faults) + 1)):
            with path.open("ab") as file:
                for part in _pieces(piece, 20):
                    file.write(part)
                    file.flush()
            if number < len(faults):
                faults[number]()
        wait_until(lambda: sidecar.lines_read() >= data.count(b"\n"), "the file to be read")
        assert sidecar.stop() == 0
        wait_until(
            lambda: ingest.rows(ROWS)[len(expected) - 1 :] or not expected, f"{len(expected)} rows", patience=120
        )
        ingest.wait_until_drained()
    assert ingest.rows(ROWS) == expected
    assert "Traceback" not in sidecar.err


def _pieces(data: bytes, number: int) -> Iterator[bytes]:
    size = max(1, -(-len(data) // number))
    for start in range(0, len(data), size):
        yield data[start : start + size]
