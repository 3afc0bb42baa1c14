"""A clock that is set while the flow runs: by whoever looks after it, or by a machine that slept."""

from pathlib import Path

import pytest

from tests.ingestion import Ingest, publish_many, settles_whole
from tests.servers import StreamHandle

# Debian's package of the same name.
LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
HOUR_S = 3600


class Elsewhere(Ingest):
    # What it is loaded with has to come before everything else.
    is_forked = False


@pytest.mark.skipif(LIBFAKETIME is None, reason="libfaketime is not installed")
def test_a_clock_that_is_set_back_or_forth_holds_nothing_up(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": str(LIBFAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        # What measures how long something takes isn't set with the clock.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with Elsewhere(stream, database, tmp_path / "ingest.log", **faked) as ingest:
        publish_many(stream, range(100))
        settles_whole(ingest, 100)
        for turn, offset in enumerate((-HOUR_S, HOUR_S), 1):
            clock.write_text(f"{offset:+d}")
            publish_many(stream, range(100 * turn, 100 * (turn + 1)))
            settles_whole(ingest, 100 * (turn + 1))
        assert ingest.stop() == 0
