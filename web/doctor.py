"""The command `agent-comms doctor`: what is wrong with this set-up, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from web.failure import NOT_DONE, UNREACHABLE, WRONG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flows.settings import Settings
    from web.finding import Finding

_MARKS = {"ok": "ok", "warning": "warn", "failing": "FAIL", "skipped": "skip"}
_COLORS = {"ok": "green", "warning": "yellow", "failing": "red", "skipped": "bright_black"}
_COUNTED = {"failing": "failing", "warning": "to be looked at", "ok": "well", "skipped": "skipped"}
# However a server fails, the doctor comes to an end.
LIMIT_S = 20.0


@click.command(short_help="Say what is wrong with this set-up.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of lines.")
@click.pass_context
def doctor(context: click.Context, *, as_json: bool) -> None:
    """Look at the settings of the environment, NATS, Postgres, the web and the flow, and say what to do.

    Run it with the settings of the program in question: what its user is not permitted to ask is skipped. Nothing is
    stored, taken or changed.

    Exit code 0: nothing fails, though there may be warnings. 1: something does. 2: a setting is wrong. 3: NATS or
    Postgres can't be reached, or doesn't let us in.
    """
    import logging
    import os

    from web.doctor_settings import read_settings

    # What the libraries complain of is said by the checks.
    logging.disable(logging.CRITICAL)
    settings, findings = read_settings(os.environ)
    if settings is not None:
        findings += _look(settings)
    if as_json:
        _print_json(findings)
    else:
        _print_lines(findings)
    context.exit(_exit_code(findings))


def _look(settings: Settings) -> list[Finding]:
    """Look at everything at once; each thing is told in its turn."""
    import threading
    import time

    from web.doctor_nats import check_nats
    from web.doctor_postgres import check_postgres
    from web.doctor_processes import check_flow, check_web
    from web.doctor_settings import check_disk, check_expiry
    from web.finding import failing

    looks: dict[str, Callable[[], Iterable[Finding]]] = {
        "expiry": lambda: check_expiry(settings),
        "nats": lambda: check_nats(settings),
        "postgres": lambda: check_postgres(settings),
        "web": lambda: [check_web(settings)],
        "flow": lambda: [check_flow(settings)],
        "disk": lambda: check_disk(settings),
    }
    found: dict[str, list[Finding]] = {name: [] for name in looks}
    # Daemons, since one that looks at something frozen never comes back.
    threads = {
        name: threading.Thread(target=_take, args=(name, look, found[name]), name=f"doctor:{name}", daemon=True)
        for name, look in looks.items()
    }
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + LIMIT_S
    for name, thread in threads.items():
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            text = f"no answer within {LIMIT_S:g} s"
            found[name] = [*found[name], failing(name, text, "see whether it is frozen, or the way to it is cut")]
    return [finding for findings in found.values() for finding in findings]


def _take(name: str, look: Callable[[], Iterable[Finding]], found: list[Finding]) -> None:
    """Add what a look finds; and, where it fails, that it did."""
    from web.finding import failing

    try:
        found.extend(look())
    except Exception as error:  # whatever it is, it is an answer, and no traceback helps who asked
        words = " ".join(str(error).split())
        found.append(failing(name, f"{type(error).__name__}: {words}"[:500], "see the log of what was looked at"))


def _exit_code(findings: list[Finding]) -> int:
    failing = [finding.check for finding in findings if finding.state == "failing"]
    if "settings" in failing:
        return WRONG
    connected = {finding.check for finding in findings if finding.state == "ok"}
    if any(server in failing and server not in connected for server in ("nats", "postgres")):
        return UNREACHABLE
    return NOT_DONE if failing else 0


def _print_lines(findings: list[Finding]) -> None:
    from web.failure import one_line

    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        mark = click.style(f"{_MARKS[finding.state]:4}", fg=_COLORS[finding.state], bold=finding.state == "failing")
        todo = f" → {finding.todo}" if finding.todo else ""
        click.echo(f"{mark}  {finding.check:{width}}  {one_line(finding.text + todo)}")
    states: list[str] = [finding.state for finding in findings]
    counts = [f"{states.count(state)} {words}" for state, words in _COUNTED.items()]
    click.echo(", ".join(counts))


def _print_json(findings: list[Finding]) -> None:
    import json

    from web.failure import one_line

    checks = [
        {"check": each.check, "state": each.state, "text": one_line(each.text), "todo": one_line(each.todo)}
        for each in findings
    ]
    healthy = all(each.state != "failing" for each in findings)
    click.echo(json.dumps({"healthy": healthy, "checks": checks}, indent=2, ensure_ascii=False))
