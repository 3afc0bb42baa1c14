"""What a check of the doctor found."""

from typing import Literal

from msgspec import Struct

State = Literal["ok", "warning", "failing", "skipped"]


class Finding(Struct, frozen=True, omit_defaults=True):
    """A line of the doctor's.

    Attributes:
        check: what was looked at.
        state: `warning` where it works and somebody should know; `skipped` where it could not be looked at.
        text: what was found.
        todo: what to do about it; empty where there is nothing to do.
    """

    check: str
    state: State
    text: str
    todo: str = ""


def ok(check: str, text: str) -> Finding:
    """Say that all is well."""
    return Finding(check, "ok", text)


def warning(check: str, text: str, todo: str) -> Finding:
    """Say that somebody should know."""
    return Finding(check, "warning", text, todo)


def failing(check: str, text: str, todo: str) -> Finding:
    """Say that it doesn't work."""
    return Finding(check, "failing", text, todo)


def skipped(check: str, text: str, todo: str = "") -> Finding:
    """Say why it could not be looked at."""
    return Finding(check, "skipped", text, todo)
