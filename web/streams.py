"""The standard streams of a command, which may be closed, full, or read by nobody any more."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import TextIO

    from _typeshed import ReadableBuffer

STDIN, STDOUT, STDERR = range(3)


class Unwritable(OSError):
    """What was printed on stdout can't be written."""


class _Stdout(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Unwritable(error.errno, error.strerror) from error


def keep_places() -> None:
    """Have something stand where a stream is closed, lest the next file that is opened is taken for it.

    What is written to a closed stdout fails, as it would alone.
    """
    for file in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(file)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if file == STDERR else os.O_RDONLY)


def tell_apart() -> None:
    """Have what can't be written on stdout be an error of its own; a stream that a test has put there stays."""
    if sys.stdout is not None and sys.stdout is not sys.__stdout__:
        return
    # A stream that was closed at the start is none, and who prints on it is to hear of it.
    encoding, errors = (sys.stdout.encoding, sys.stdout.errors) if sys.stdout else ("utf-8", "replace")
    raw = _Stdout(STDOUT, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=raw.isatty())


def give_up(stream: TextIO) -> None:
    """Have what is left of a stream, and what comes, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def complain(text: str) -> None:
    """Print a line on stderr, if it takes any."""
    try:
        click.echo(text, err=True)
    except OSError:
        give_up(sys.stderr)
