"""`make bench`: measures on this machine and prints a table; `--json FILE` keeps it.

Figures depend on the machine, so they are ratios within one run or stand against a stated load.
"""

import json
import os
import platform
import tempfile
from pathlib import Path

import click

from connectors.embedded import EmbeddedNats, EmbeddedPostgres
from tests.bench.ingest import catch_up
from tests.bench.live import latency
from tests.servers import fresh_stream, make_template


@click.command()
@click.option("--messages", default=300_000, show_default=True, help="How many the flow catches up with.")
@click.option("--seconds", default=20.0, show_default=True, help="How long each rate is held for the latencies.")
@click.option("--only", type=click.Choice(["ingest", "live"]), help="One part alone.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Where the figures are written.")
def main(messages: int, seconds: float, only: str | None, target: Path | None) -> None:
    """Measure throughput and latency."""
    figures: dict[str, str] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with EmbeddedNats(folder / "nats") as nats, EmbeddedPostgres(folder / "postgres") as postgres:
            make_template(postgres)
            with fresh_stream(nats) as stream:
                if only != "live":
                    measured = catch_up(stream, postgres, messages, folder)
                    figures |= {
                        "catch-up, messages/s": f"{measured.ingested:,.0f}",
                        "bare binary COPY of the same rows, rows/s": f"{measured.copied:,.0f}",
                        "ratio": f"{measured.ratio:.2f}",
                        "flow's CPU a message, µs": f"{measured.cpu_us:.1f}",
                        "flow's peak memory, MiB": f"{measured.peak_mib:.0f}",
                    }
                for rate in (1, 100, 1_000) if only != "ingest" else ():
                    took = latency(stream, postgres, folder, rate, seconds)
                    figures[f"publish to SSE client at {rate:,} msg/s, p50 and p99, ms"] = (
                        f"{took.p50:.1f}, {took.p99:.1f}"
                    )
    for what, figure in figures.items():
        click.echo(f"{what:60} {figure}")
    if target:
        target.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def machine() -> str:
    """Say what this ran on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


main()
