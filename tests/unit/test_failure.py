import psycopg
import pytest

from connectors.connection import NatsUnavailable
from connectors.migrations import MigrationError
from connectors.nack import NackError
from connectors.puback import NoAnswer, NoStream, NotPermitted, Refused, TooLarge
from flows.payload import PayloadError
from flows.settings import SettingError
from web.failure import in_words, one_line


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (NoStream("x"), 1),
        (NotPermitted("x"), 1),
        (TooLarge("x"), 1),
        (Refused("x"), 1),
        (MigrationError("x"), 1),
        (NackError("x"), 1),
        (SettingError("x"), 2),
        (PayloadError("x"), 2),
        (psycopg.ProgrammingError('missing "=" after "x" in connection info string'), 2),
        (NatsUnavailable("x"), 3),
        (NoAnswer("x"), 3),
        (psycopg.OperationalError("x"), 3),
        (psycopg.errors.UndefinedTable("x"), 1),
        (psycopg.errors.ReadOnlySqlTransaction("x"), 1),
        (psycopg.errors.QueryCanceled("x"), 1),
        (psycopg.errors.DiskFull("x"), 1),
        (psycopg.errors.AdminShutdown("x"), 3),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_somebody_can_do_something_about_has_an_exit_code(error: Exception, exit_code: int) -> None:
    failure = in_words(error)
    assert failure is not None
    assert failure.exit_code == exit_code


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), psycopg.errors.SyntaxError("x")])
def test_a_bug_is_not_put_into_words(error: Exception) -> None:
    assert in_words(error) is None


def test_a_connection_string_that_libpq_cannot_read_is_not_quoted() -> None:
    failure = in_words(psycopg.ProgrammingError('missing "=" after "postgres//u:hunter2@h" in connection info string'))
    assert "hunter2" not in str(failure)
    assert str(failure).startswith("DATABASE_URL: ")


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"NATS_PASSWORD": "hunter2"}, "no such user hunter2"),
        ({"DATABASE_URL": "postgresql://me:hunter2@db/x"}, "password hunter2"),
        ({"DATABASE_URL": "postgresql://me:hunter%32@db/x"}, "password hunter2"),
        ({"DATABASE_URL": "postgresql://me:p@hunter2@db:5432/x"}, "no host hunter2@db"),
        ({"DATABASE_URL": "host=db password=hunter2"}, "hunter2 is wrong"),
        ({"DATABASE_URL": "postgresql://db/x?password=hunter2&user=me"}, "hunter2 is wrong"),
        ({"NATS_URL": "nats://a:4222,nats://me:hunter2@b:4222"}, "b refused hunter2"),
        ({"NATS_CREDS": "hunter2"}, "hunter2 holds no JWT"),
    ],
)
def test_a_secret_is_not_shown(environ: dict[str, str], text: str) -> None:
    shown = one_line(text, environ)
    assert "hunter2" not in shown
    assert "***" in shown


def test_a_short_secret_does_not_eat_words() -> None:
    assert one_line("a failed password: a", {"NATS_PASSWORD": "a"}) == "*** failed password: ***"


def test_a_failure_is_one_line() -> None:
    assert one_line("connection failed:\n\tIs the server\nrunning?", {}) == "connection failed: Is the server running?"
