"""What a command printed, as opposed to what an agent says: lines of a pipe or of a log, and the command itself."""

from flows.message import Event

_COMMAND = "started: "


def is_printed(event: Event) -> bool:
    """Say whether a message is a line as it was printed; an event that a line holds has a type."""
    attrs = event.attrs
    is_line = isinstance(attrs.get("artifact"), str) and isinstance(attrs.get("line"), int)
    return is_line and not attrs.get("event_type") and not attrs.get("item_type")


def command(event: Event) -> str:
    """Return the command of which a message says that it has started; empty where it says something else."""
    is_start = event.kind == "run-started" and event.content.startswith(_COMMAND)
    return event.content.removeprefix(_COMMAND) if is_start else ""
