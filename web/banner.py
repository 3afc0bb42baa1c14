"""What `agent-comms up` says on the terminal: the address first."""

import shlex
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.markup import escape

from connectors.loopback import HOST
from web.state import State


def show_addresses(
    console: Console, addresses: dict[str, str], state: State, *, sample: bool, speaker: Path | None, metrics: int
) -> None:
    """Say where everything is and what to do next.

    Args:
        console: where to.
        addresses: by setting.
        state: the folder of it all.
        sample: whether sample agents talk.
        speaker: the settings of who may publish, where few may.
        metrics: the port of the flow's; 0 where it tells none.
    """
    known = f"set -a; . {_shown(speaker or state.env_file)}; set +a"
    page = f"{addresses['AGENT_COMMS_URL']}/agents"
    lines = (
        "",
        f"  [bold]agent-comms[/] is running   [bold cyan link={page}]{page}[/]",
        "",
        *_places(addresses, state, sample=sample, speaker=speaker, metrics=metrics),
        "",
        "  [dim]Say something yourself, in another terminal:[/]",
        escape(f"  {known}"),
        escape(f'  {_program()} publish --name my-run --agent me "Hello, **agents**"'),
        "",
        "  [dim]Ctrl-C ends everything; the data stays.[/]",
        "",
    )
    _show(console, "\n".join(lines))


def show_note(console: Console, line: str) -> None:
    """Say what happened, and when."""
    _show(console, f"  [dim]{datetime.now().astimezone():%H:%M:%S}[/]  {escape(line)}")


def show_end(console: Console) -> None:
    """Say that nothing runs any more."""
    _show(console, "[dim]Ended.[/]")


def _show(console: Console, text: str) -> None:
    # The terminal may be closed, or nobody read the pipe any more, which rich takes for the end of the program.
    with suppress(OSError, SystemExit):
        console.print(text)


def _places(
    addresses: dict[str, str], state: State, *, sample: bool, speaker: Path | None, metrics: int
) -> Iterator[str]:
    database = urlsplit(addresses["DATABASE_URL"])
    places = {
        "NATS": f"{urlsplit(addresses['NATS_URL']).netloc}, stream agent-comms",
        "Postgres": f"{database.hostname}:{database.port}, database {database.path[1:]}",
        "Addresses": f"{_shown(state.env_file)}, with the password",
        "Logs": _shown(state.logs),
    }
    if metrics:
        places["Metrics"] = f"http://{HOST}:{metrics}/metrics, of the flow"
    if speaker:
        places["Credentials"] = f"{_shown(speaker.parent)}, one of each user of NATS"
    if sample:
        places["Sample"] = "three agents on two tasks, again and again; --no-sample leaves them out"
    for name, place in places.items():
        yield f"  [dim]{name:<12}[/]{escape(place)}"


def _shown(path: Path) -> str:
    """Return a path as it would be typed here."""
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return shlex.quote(str(shown))


def _program() -> str:
    return _shown(Path(sysconfig.get_path("scripts")) / "agent-comms")
