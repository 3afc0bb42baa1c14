"""The queue of completed runs: who works on which, how it went, and when it is tried again."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from msgspec import Struct
from psycopg import Connection

import sql
from flows.completion import MOST_BYTES, Completion, CompletionError, told_again
from flows.finished import Key
from flows.report import NO_ARTIFACTS, RunReport

# Whoever has died with runs has them taken away after so long.
LEASE = timedelta(minutes=2)
# A run is given up after so many tries, about a day after the first one.
MAX_ATTEMPTS = 10
DELAY = (timedelta(minutes=1), timedelta(hours=6))
# So long after a run was queued its artifacts may come, where it has none: a bucket's outage, or a night until somebody
# sees that the root is another one. That costs it no try, and is no fault: many runs leave nothing.
LATE = timedelta(days=1)

State = Literal["queued", "running", "done", "failed"]
STATES: tuple[State, ...] = ("queued", "running", "done", "failed")


class Claim(Struct, frozen=True):
    """A completed run that somebody works on.

    Attributes:
        payload: what the controller has said, JSON.
        revision: how often it has said something else.
        attempts: how often it was tried, this time included.
    """

    workflow_namespace: str
    workflow_uid: str
    workflow_name: str
    run_id: str | None
    payload: str
    revision: int
    attempts: int
    queued_at: datetime

    @property
    def key(self) -> Key:
        """What names the workflow in every system."""
        return self.workflow_namespace, self.workflow_uid

    @property
    def is_last(self) -> bool:
        """Whether it is given up after this try."""
        return self.attempts >= MAX_ATTEMPTS


class Waiting(Struct, frozen=True):
    """A run that is being worked on, waits for its next try, or was given up.

    Attributes:
        attempts: how often it was tried; none that only found that there is no artifact.
    """

    workflow_namespace: str
    workflow_uid: str
    workflow_name: str
    state: State
    attempts: int
    last_error: str | None
    next_try_at: datetime


def add(connection: Connection[Any], completion: Completion, said: dict[str, Any]) -> tuple[State, datetime]:
    """Queue a run that is complete; returns where it stands, and since when what is known of its end is known.

    To be called in a transaction, which then holds the run's row, so that no word is lost of those who tell at once.

    Args:
        connection: in a transaction.
        completion: what the payload comes to.
        said: the payload, each thing in one place.

    Raises:
        CompletionError: with what was told before it is too much.
    """
    values = {
        "namespace": completion.workflow_namespace,
        "uid": completion.workflow_uid,
        "name": completion.workflow_name,
        "run_id": completion.run_id,
        "payload": _payload({}, said),
    }
    row = connection.execute(sql.query("hold_queue"), values).fetchone()
    if row is None:
        ((earlier,),) = connection.execute(sql.query("queued_payload"), values).fetchall()
        values["payload"] = _payload(json.loads(earlier), said)
        row = connection.execute(sql.query("queue_run"), values).fetchone()
    return row or ("queued", datetime.now(UTC))


def _payload(earlier: dict[str, Any], later: dict[str, Any]) -> str:
    payload = msgspec.json.encode(told_again(earlier, later))
    if len(payload) > MOST_BYTES:
        message = f"body: with what was told before it has {len(payload):,} bytes; {MOST_BYTES:,} are allowed"
        raise CompletionError(message)
    return payload.decode()


def claim(connection: Connection[Any], limit: int) -> list[Claim]:
    """Take runs that are due, for nobody else to take until the lease is over."""
    connection.execute(sql.query("bury_queue"), {"most": MAX_ATTEMPTS})
    arguments = {"limit": limit, "lease": LEASE}
    return [Claim(*row) for row in connection.execute(sql.query("claim_queue"), arguments)]


def keep(connection: Connection[Any], claims: Sequence[Claim]) -> None:
    """Renew the lease of runs that are worked on."""
    fields = ("workflow_namespace", "workflow_uid", "revision", "attempts")
    held = [{name: getattr(each, name) for name in fields} for each in claims]
    connection.execute(sql.query("keep_queue"), {"claims": msgspec.json.encode(held).decode(), "lease": LEASE})


def done(connection: Connection[Any], claim: Claim, report: RunReport) -> None:
    """Say that there is nothing more to do about a run."""
    _end(connection, claim, "done", report=report)


def put_off(connection: Connection[Any], claim: Claim, error: str, report: RunReport | None = None) -> State:
    """Say that a run is to be tried again later, or never, after so many tries; returns which."""
    state: State = "failed" if claim.is_last else "queued"
    _end(connection, claim, state, error=error, report=report, delay=delay(claim.attempts))
    return state


def wait_for_artifacts(connection: Connection[Any], claim: Claim, waited: timedelta, report: RunReport) -> None:
    """Say that a run without artifacts is to be looked at again, after as long a time as it has waited."""
    _end(connection, claim, "queued", error=NO_ARTIFACTS, report=report, delay=_about(waited), undone=1)


def give_back(connection: Connection[Any], claim: Claim) -> None:
    """Say that nobody has come to a run."""
    _end(connection, claim, "queued", undone=1)


def delay(attempts: int) -> timedelta:
    """Return how long to wait after so many tries: twice as long each time, and never just as long as the others."""
    return _about(DELAY[0] * 2 ** min(attempts - 1, 20))


def _about(time: timedelta) -> timedelta:
    least, most = DELAY
    return min(most, max(least, time)) * random.uniform(0.75, 1)  # noqa: S311  # no secret


def _end(
    connection: Connection[Any],
    claim: Claim,
    state: State,
    *,
    error: str | None = None,
    report: RunReport | None = None,
    delay: timedelta = timedelta(),
    undone: int = 0,
) -> None:
    values = {
        "namespace": claim.workflow_namespace,
        "uid": claim.workflow_uid,
        "revision": claim.revision,
        "attempts": claim.attempts,
        "state": state,
        "error": error,
        "report": msgspec.json.encode(report).decode() if report is not None else None,
        "delay": delay,
        "undone": undone,
    }
    connection.execute(sql.query("end_queue"), values)


def sweep(connection: Connection[Any], since: datetime, until: datetime) -> int:
    """Queue runs that have ended in between and that nobody has queued; returns how many."""
    return connection.execute(sql.query("sweep_queue"), {"since": since, "until": until}).rowcount


def retry(connection: Connection[Any]) -> int:
    """Queue runs anew that were given up, or are done though they had no artifacts; returns how many."""
    return connection.execute(sql.query("retry_queue")).rowcount


def counts(connection: Connection[Any]) -> dict[str, int]:
    """Return how many runs stand where."""
    found = dict(connection.execute(sql.query("count_queue")).fetchall())
    return {state: found.get(state, 0) for state in STATES}


def waiting(connection: Connection[Any], limit: int) -> list[Waiting]:
    """Return runs that are worked on, wait for their next try, or were given up."""
    return [Waiting(*row) for row in connection.execute(sql.query("list_queue"), {"limit": limit})]
