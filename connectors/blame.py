"""Whose fault it is that Postgres didn't store something."""

from enum import Enum

import psycopg

# Connections, transactions in the wrong state, authorization, the database's name, deadlocks and
# serialization, resources (disk, memory, connections), locks, shutdown, input and output, old
# snapshots, configuration, damaged data and indexes. 57014 (cancelled, or a statement timeout) and
# XX000 are not among them: one message can cause those, again and again.
_SERVER_CLASSES = ("08", "25", "28", "3D", "40", "53", "55", "57P", "58", "72", "F0", "XX001", "XX002")
# A limit of Postgres' own, such as an index entry that is too large: operational by the
# driver's word, but the same again however often it is tried.
_LIMIT_CLASS = "54"
_CANCELLED = "57014"


class Blame(Enum):
    """Who can be blamed.

    Attributes:
        SERVER: Postgres, or the way to it: never an item, and the same batch goes through later.
        DATA: an item, by Postgres' own word: it fails whenever it is tried.
        UNCLEAR: an item (a trigger of somebody's raises, a row can't be made) or the whole set-up
            (a table is missing); the error doesn't tell.
    """

    SERVER = "server"
    DATA = "data"
    UNCLEAR = "unclear"


def blame(error: Exception) -> Blame:
    """Return who can be blamed for an error of psycopg's, or of the Python code around it."""
    if not isinstance(error, psycopg.Error):
        return Blame.UNCLEAR
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return Blame.DATA
    state = error.sqlstate
    if state is None:
        # A lost connection has no state, and neither has what the driver itself can't put into words.
        is_connection = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return Blame.SERVER if is_connection else Blame.UNCLEAR
    if state.startswith(_LIMIT_CLASS):
        return Blame.DATA
    return Blame.SERVER if state.startswith(_SERVER_CLASSES) else Blame.UNCLEAR


def is_timeout(error: Exception) -> bool:
    """Say whether a statement was cancelled, be it for taking too long."""
    return isinstance(error, psycopg.Error) and error.sqlstate == _CANCELLED


def in_one_line(error: Exception) -> str:
    """Return the error for a person: its state or type, and its text."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return f"{state or type(error).__name__}: {' '.join(str(error).split())}"[:1000]
