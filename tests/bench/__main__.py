"""`make bench`: measures on this machine and prints tables; `--json FILE` keeps the figures.

Figures depend on the machine, so they are ratios within one run or stand against a stated load.
"""

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from connectors.embedded import EmbeddedNats, EmbeddedPostgres
from tests.bench import (
    backfill,
    fanout,
    ingest,
    live,
    memory,
    prune,
    queries,
    readers,
    redaction,
    room,
    scaling,
    sidecar,
    stages,
    watching,
)
from tests.bench.bench import Bench
from tests.bench.figure import Results, as_json, show
from tests.bench.machine import describe
from tests.ingestion import Ingest
from tests.servers import fresh_stream, make_template
from tests.sidecar import Sidecar
from tests.webserver import WebServer

QUICK = 0.15
PARTS: dict[str, Callable[[Bench], Results]] = {
    "ingest": ingest.measure,
    "stages": stages.measure,
    "redaction": redaction.measure,
    "memory": memory.measure,
    "scaling": scaling.measure,
    "live": live.measure,
    "fanout": fanout.measure,
    "sidecar": sidecar.measure,
    "prune": prune.measure,
    "queries": queries.measure,
    "watching": watching.measure,
    "readers": readers.measure,
    "backfill": backfill.measure,
    "room": room.measure,
}


@click.command()
@click.option("--only", multiple=True, type=click.Choice([*PARTS]), help="One part alone; may be given again.")
@click.option("--quick", is_flag=True, help="Fewer messages and seconds: two to three minutes for all of it.")
@click.option("--scale", type=float, help="The same in your own measure: 1 for the full menu.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Where the figures are written.")
def main(only: tuple[str, ...], quick: bool, scale: float | None, target: Path | None) -> None:
    """Measure throughput, latency, memory and fan-out."""
    # What measures must not wait 5 ms for what publishes, nor look for cycles among its messages.
    sys.setswitchinterval(0.0005)
    gc.set_threshold(100_000, 20, 50)
    # Programs are measured as they are run, with their start.
    Ingest.is_forked = Sidecar.is_forked = WebServer.is_forked = False
    kept: dict[str, Any] = {"parts": {}}
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        nats = ends.enter_context(EmbeddedNats(folder / "nats"))
        postgres = ends.enter_context(EmbeddedPostgres(folder / "postgres"))
        make_template(postgres)
        stream = ends.enter_context(fresh_stream(nats))
        kept["machine"] = describe(stream, postgres)
        click.echo(", ".join(f"{name} {value}" for name, value in kept["machine"].items()))
        bench = Bench(nats, postgres, stream, folder, scale or (QUICK if quick else 1.0))
        for part in only or PARTS:
            began = time.perf_counter()
            results = PARTS[part](bench)
            took = time.perf_counter() - began
            show(f"{part} ({took:.0f} s)", results)
            kept["parts"][part] = {"seconds": round(took, 1), "loads": as_json(results)}
            if target:
                target.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


main()
