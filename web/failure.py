"""How a command fails: one line on stderr and an exit code; no traceback, no secret.

0  done
1  not done: refused, not as it should be, or not to be printed
2  a wrong setting, manifest, option or message
3  NATS or Postgres can't be reached, or doesn't let us in
4  done in part: some lines were wrong, the others are stored
"""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from web.streams import Unwritable, complain, give_up, keep_places, tell_apart

if TYPE_CHECKING:
    import psycopg

NOT_DONE = 1
WRONG = 2
UNREACHABLE = 3
IN_PART = 4
INTERRUPTED = 130


class Failure(Exception):
    """Ends a command with one line and an exit code."""

    def __init__(self, text: str, exit_code: int = NOT_DONE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Commands(click.Group):
    """A group whose commands may fail with any error that somebody can do something about."""

    def main(self, *args: Any, **more: Any) -> Any:
        """Run as a program; what can't be printed ends it in one line."""
        keep_places()
        tell_apart()
        try:
            return super().main(*args, **more)
        except Unwritable as error:
            give_up(sys.stdout)
            say(f"stdout can't be written: {error.strerror}")
            sys.exit(NOT_DONE)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and put its failure into words."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except Exception as error:
            failure = in_words(error)
            if failure is None:
                raise
            say(str(failure))
            ctx.exit(failure.exit_code)


def keep_quiet() -> None:
    """Have no log line printed: a command says itself, in one line, what it would say as well."""
    import logging

    logging.getLogger().addHandler(logging.NullHandler())


def say(text: str) -> None:
    """Print one line on stderr."""
    complain(f"agent-comms: {one_line(text)}")


def tell(line: str) -> None:
    """Print on stdout what is done already, and so must not fail for it: stderr says it where stdout can't."""
    try:
        click.echo(line)
    except OSError as error:
        give_up(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            say(f"stdout can't be written: {error.strerror}; it is done all the same: {line}")


def in_words(error: Exception) -> Failure | None:
    """Return the failure that an error stands for; None where it is a bug of ours."""
    if isinstance(error, Failure):
        return error
    # Imported here, so that a command that fails at nothing doesn't wait for them.
    import psycopg

    from connectors.connection import NatsUnavailable
    from connectors.migrations import MigrationError
    from connectors.nack import NackError
    from connectors.puback import NoAnswer, PublishError
    from connectors.tls import UnusableFile
    from flows.payload import PayloadError
    from flows.settings import SettingError

    match error:
        case SettingError() | PayloadError():
            return Failure(str(error), WRONG)
        case UnusableFile():
            return Failure(f"NATS_{error.option.upper()}: {error.why}", WRONG)
        case NatsUnavailable():
            said = str(error).removeprefix("nats: ").strip("'")
            if "CERTIFICATE_VERIFY_FAILED" in said:
                why = said.rpartition("verify failed: ")[2].partition(" (_ssl")[0]
                text = f"NATS_CA_FILE: NATS shows a certificate that is not trusted: {why}"
                return Failure(text, UNREACHABLE)
            what = "doesn't let this user in" if "authorization" in said.lower() else "can't be reached"
            return Failure(f"NATS {what}: {said}", UNREACHABLE)
        case NoAnswer():
            return Failure(str(error), UNREACHABLE)
        case PublishError() | MigrationError() | NackError():
            return Failure(str(error))
        case psycopg.Error():
            return _of_postgres(error)
    return None


def _of_postgres(error: "psycopg.Error") -> Failure | None:
    import psycopg
    from psycopg import errors

    from flows.database import UNREADABLE

    said = error.diag.message_primary or str(error)
    match error:
        case (
            errors.UndefinedTable() | errors.InvalidSchemaName() | errors.UndefinedColumn() | errors.UndefinedFunction()
        ):
            return Failure(f"the database has not the schema of this version: run `agent-comms migrate`: {said}")
        case errors.ReadOnlySqlTransaction():
            text = f"DATABASE_URL: it leads to a database that can't be written, a standby or one set to read: {said}"
            return Failure(text)
        case errors.QueryCanceled() | errors.LockNotAvailable() | errors.IdleInTransactionSessionTimeout():
            text = f"Postgres ended it before it was done: {said}; see its timeouts, in DATABASE_URL or of its user"
            return Failure(text)
        case errors.DiskFull() | errors.OutOfMemory() | errors.DeadlockDetected() | errors.SerializationFailure():
            return Failure(f"Postgres could not do it: {said}")
    if isinstance(error, psycopg.OperationalError):
        if any(word in str(error) for word in ("SSL", "certificate")):
            return Failure(f"DATABASE_URL: there is no TLS with Postgres as it asks for: {error}", UNREACHABLE)
        return Failure(f"Postgres can't be reached: {error}", UNREACHABLE)
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        # libpq quotes what it can't read, and a password may be in it.
        return Failure(UNREADABLE, WRONG)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return Failure(f"Postgres refused: {error}")
    return None


def one_line(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Return a text on one line, without the secrets of the environment."""
    from flows.hiding import hide, secrets_of
    from flows.text import legible

    return " ".join(legible(hide(text, secrets_of(os.environ if environ is None else environ))).split())
