"""The runs that are complete, queued durably for the reconciliation with their artifacts."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from psycopg import Connection

import sql
from flows import backlog
from flows.completion import (
    CONFINED,
    SWEPT,
    Completion,
    CompletionError,
    check_fields,
    complete,
    in_one_place,
    read_completion,
    told_in,
)
from flows.redact import Redactor
from flows.text import TooDeepError, storable_json
from web.door import check_namespace
from web.pool import Pool
from web.problems import Problem
from web.queries import Reader
from web.sight import current
from web.turn import Turn

Breathe = Callable[[], object]

# In place of a run's name where the caller knows none, as in subjects.
ABSENT = "-"
# What the sensor sends as JSON text in the JSON.
_PARTS = ("data", "metadata", "status", "arguments", "artifacts")


class Queued(Struct, frozen=True):
    """A completed run in the queue.

    Attributes:
        state: `queued`, or how far the reconciliation has come that an earlier call has queued.
        queued_at: when what is known of the run's end was told.
    """

    workflow_namespace: str
    workflow_uid: str
    workflow_name: str
    state: str
    queued_at: datetime


class Completions:
    """The queue in Postgres.

    Args:
        pool: of connections that may write.
        reader: knows the runs.
        redactor: takes the credentials out of what is queued.
    """

    def __init__(self, pool: Pool, reader: Reader, redactor: Redactor) -> None:
        self._redactor = redactor
        self._pool = pool
        self._reader = reader

    def add(self, run: str, namespace: str | None, body: bytes) -> Queued:
        """Queue a run; once this returns, no crash loses it.

        Args:
            run: any of the run's names, or `-`.
            namespace: the run's, where the payload doesn't say.
            body: the run-complete payload, bare, or a CloudEvent around it.

        Raises:
            Problem: it is no such payload, or another run's.
            psycopg.OperationalError: Postgres doesn't answer.
        """
        turn = Turn()
        payload = _open(body, turn.breathe)
        turn.begin()
        # What is wrong is named as the caller has written it.
        field = told_in("namespace", _metadata(payload), payload) or "workflowNamespace"
        self._fill_in(payload, None if run == ABSENT else run, namespace)
        try:
            check_fields(payload)
            completion = read_completion(payload, datetime.now(UTC))
        except CompletionError as error:
            raise _problem(error) from error
        # Before anything is said of runs elsewhere.
        check_namespace(current(), completion.workflow_namespace, field)
        self._check_name(run, completion)
        # What a workflow was started with may hold credentials; who reconciles needs none of them.
        redacted = self._redactor.value(in_one_place(payload), set(), turn.breathe)
        kept = _signed(redacted, confined=not current().is_everything)
        try:
            return self._pool.ask(lambda connection: _queue(connection, completion, kept))
        except CompletionError as error:
            raise _problem(error) from error

    def _fill_in(self, payload: dict[str, Any], run: str | None, namespace: str | None) -> None:
        """Name the run in the payload as the address does, where the payload doesn't."""
        metadata = payload.setdefault("metadata", {})
        if not isinstance(metadata, dict):
            return
        fields = (told_in(part, metadata, payload) for part in ("name", "uid"))
        own = [metadata.get("name"), metadata.get("uid"), *(payload.get(field) for field in fields if field)]
        if run is not None and not any(own):
            told = told_in("namespace", metadata, payload)
            given = metadata.get("namespace") or (payload.get(told) if told else None)
            known = self._reader.run(run, given if isinstance(given, str) and given else namespace).run
            metadata["name"], metadata["uid"] = (known.workflow_name, known.workflow_uid) if known else (run, run)
            namespace = known.workflow_namespace if known else namespace
            own = [metadata["name"], metadata["uid"]]
        if run is not None and run not in own and not (payload.get("run_id") or payload.get("runId")):
            payload["run_id"] = run
        if namespace is None and not current().is_everything:
            namespace = current().home
        if namespace and not told_in("namespace", metadata, payload):
            metadata["namespace"] = namespace

    def _check_name(self, run: str, completion: Completion) -> None:
        if run in (ABSENT, completion.workflow_uid, completion.workflow_name):
            return
        known = self._reader.run(run, completion.workflow_namespace).run
        if completion.run_id != run or (known and known.workflow_uid != completion.workflow_uid):
            message = f"run: the address names another run than the payload, which is {completion.workflow_uid!r}'s."
            raise Problem(message, "run")


def _problem(error: CompletionError) -> Problem:
    message = f"{error}."
    return Problem(message, str(error).partition(":")[0])


def _queue(connection: Connection, completion: Completion, said: dict[str, Any]) -> Queued:
    namespace, uid = completion.workflow_namespace, completion.workflow_uid
    with connection.transaction():
        connection.execute("SET TRANSACTION READ WRITE")
        connection.execute("SET LOCAL synchronous_commit = on")
        state, queued_at = backlog.add(connection, completion, said)
        complete(connection, completion)
        connection.execute(sql.query("notify_runs"), {"namespaces": [namespace], "uids": [uid]})
    return Queued(namespace, uid, completion.workflow_name, state, queued_at)


def _open(body: bytes, breathe: Breathe) -> dict[str, Any]:
    """Return the payload without its envelope, its parts as objects."""
    try:
        payload = _opened(_storable(body, breathe), breathe)
        if isinstance(payload, dict) and isinstance(payload.get("data_base64"), str):
            payload = {"data": _storable(base64.b64decode(payload["data_base64"], validate=True), breathe)}
        # Whoever reads it again opens it as far; an artifact that is still in an envelope would not be signed.
        while isinstance(payload, dict) and payload.get("data") and isinstance(payload["data"], dict):
            payload = _opened(payload["data"], breathe)
    except TooDeepError as error:
        message = f"body: {error}."
        raise Problem(message, "body") from error
    except (ValueError, RecursionError) as error:
        message = "body: it is not JSON."
        raise Problem(message, "body") from error
    if not isinstance(payload, dict):
        message = "body: it takes a JSON object."
        raise Problem(message, "body")
    return payload


def _signed(payload: dict[str, Any], *, confined: bool) -> dict[str, Any]:
    """Return a payload in which our own marks are ours, whoever has sent it."""
    mark = {CONFINED: True} if confined else {}
    rest = _without(SWEPT, payload)
    artifacts = [{**_without(CONFINED, each), **mark} for each in payload.get("artifacts") or ()]
    return {**rest, "artifacts": artifacts} if artifacts else rest


def _without(mark: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in fields.items() if name != mark}


def _opened(value: Any, breathe: Breathe) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _parsed(key, part, breathe) if key in _PARTS else part for key, part in value.items()}


def _parsed(key: str, part: Any, breathe: Breathe) -> Any:
    if not isinstance(part, str):
        return part
    if not part.strip():
        return None
    try:
        return _storable(part, breathe)
    except (ValueError, RecursionError) as error:
        message = f"{key}: it is not JSON."
        raise Problem(message, key) from error


def _storable(text: str | bytes, breathe: Breathe) -> Any:
    return storable_json(json.loads(text), breathe=breathe)


def _metadata(payload: dict[str, Any]) -> dict[str, Any]:
    metadata = payload.get("metadata")
    return metadata if isinstance(metadata, dict) else {}
