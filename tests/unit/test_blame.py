import psycopg
import pytest
from psycopg import errors

from connectors.blame import Blame, blame, in_one_line, is_timeout


def of(state: str) -> psycopg.Error:
    return errors.lookup(state)()


@pytest.mark.parametrize(
    "state",
    [
        "08006",  # connection failure
        "25006",  # a read-only server
        "25P03",  # idle in a transaction for too long
        "28P01",  # a password that was changed
        "3D000",  # no such database
        "40001",  # serialization
        "40P01",  # deadlock
        "53100",  # disk full
        "53200",  # out of memory
        "53300",  # too many connections
        "55P03",  # a lock that could not be had
        "57P01",  # shut down
        "57P03",  # starting up
        "58030",  # input and output
        "XX001",  # damaged data
        "XX002",  # a damaged index
    ],
)
def test_what_is_the_servers_own_never_speaks_against_a_message(state: str) -> None:
    assert blame(of(state)) is Blame.SERVER


@pytest.mark.parametrize("state", ["22021", "22P02", "23505", "23514", "54000"])
def test_what_postgres_says_of_the_data_is_the_messages(state: str) -> None:
    assert blame(of(state)) is Blame.DATA


@pytest.mark.parametrize("state", ["P0001", "XX000", "57014", "42P01", "42501", "38000", "0A000"])
def test_what_can_be_either_is_found_out(state: str) -> None:
    assert blame(of(state)) is Blame.UNCLEAR


def test_a_lost_connection_has_no_state_and_is_the_servers() -> None:
    assert blame(psycopg.OperationalError("server closed the connection unexpectedly")) is Blame.SERVER
    assert blame(psycopg.InterfaceError("the connection is closed")) is Blame.SERVER


def test_what_python_can_not_put_into_a_row_is_found_out() -> None:
    assert blame(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")) is Blame.UNCLEAR
    assert blame(psycopg.ProgrammingError("cannot adapt type")) is Blame.UNCLEAR
    assert blame(psycopg.DataError("text fields cannot contain NUL")) is Blame.DATA


def test_a_timeout_is_told_from_the_rest() -> None:
    assert is_timeout(of("57014"))
    assert not is_timeout(of("57P01"))
    assert not is_timeout(TimeoutError())


def test_an_error_is_one_line_that_is_not_too_long() -> None:
    assert in_one_line(errors.RaiseException("no\n  way")) == "P0001: no way"
    assert in_one_line(ValueError("x" * 5_000)).startswith("ValueError: xxx")
    assert len(in_one_line(ValueError("x" * 5_000))) == 1_000
