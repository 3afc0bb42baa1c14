"""The runs that are complete, queued durably for the reconciliation with their artifacts."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import Connection

import sql
from flows.completion import Completion, CompletionError, complete, read_completion
from flows.redact import Redactor
from flows.text import TooDeepError, storable_json
from web.door import check_namespace
from web.pool import Pool
from web.problems import Problem
from web.queries import Reader
from web.sight import current

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
        payload = _open(body)
        self._fill_in(payload, None if run == ABSENT else run, namespace)
        try:
            completion = read_completion(msgspec.json.encode(payload), datetime.now(UTC))
        except CompletionError as error:
            field = str(error).partition(":")[0]
            message = f"{error}."
            raise Problem(message, field) from error
        # Before anything is said of runs elsewhere.
        check_namespace(current(), completion.workflow_namespace, "metadata")
        self._check_name(run, completion)
        return self._pool.ask(lambda connection: _queue(connection, completion, payload, self._redactor))

    def _fill_in(self, payload: dict[str, Any], run: str | None, namespace: str | None) -> None:
        """Name the run in the payload as the address does, where the payload doesn't."""
        metadata = payload.setdefault("metadata", {})
        if not isinstance(metadata, dict):
            return
        own = [metadata.get("name"), metadata.get("uid"), payload.get("workflowName"), payload.get("workflowUid")]
        if run is not None and not any(own):
            given = metadata.get("namespace")
            known = self._reader.run(run, given if isinstance(given, str) and given else namespace).run
            metadata["name"], metadata["uid"] = (known.workflow_name, known.workflow_uid) if known else (run, run)
            namespace = known.workflow_namespace if known else namespace
            own = [metadata["name"], metadata["uid"]]
        if run is not None and run not in own and not (payload.get("run_id") or payload.get("runId")):
            payload["run_id"] = run
        if namespace is None and not current().is_everything:
            namespace = current().home
        if namespace and not (metadata.get("namespace") or payload.get("workflowNamespace")):
            metadata["namespace"] = namespace

    def _check_name(self, run: str, completion: Completion) -> None:
        if run in (ABSENT, completion.workflow_uid, completion.workflow_name):
            return
        known = self._reader.run(run, completion.workflow_namespace).run
        if completion.run_id != run or (known and known.workflow_uid != completion.workflow_uid):
            message = f"run: the address names another run than the payload, which is {completion.workflow_uid!r}'s."
            raise Problem(message, "run")


def _queue(connection: Connection, completion: Completion, payload: dict[str, Any], redactor: Redactor) -> Queued:
    key = {"namespace": completion.workflow_namespace, "uid": completion.workflow_uid}
    values = {
        **key,
        "name": completion.workflow_name,
        "run_id": completion.run_id,
        # What a workflow was started with may hold credentials; who reconciles needs none of them.
        "payload": msgspec.json.encode(redactor.value(payload, set())).decode(),
    }
    with connection.transaction():
        connection.execute("SET TRANSACTION READ WRITE")
        connection.execute("SET LOCAL synchronous_commit = on")
        row = connection.execute(sql.query("queue_run"), values).fetchone()
        complete(connection, completion)
        connection.execute(sql.query("notify_run"), key)
    state, queued_at = row or ("queued", datetime.now(UTC))
    return Queued(completion.workflow_namespace, completion.workflow_uid, completion.workflow_name, state, queued_at)


def _open(body: bytes) -> dict[str, Any]:
    """Return the payload without its envelope, its parts as objects."""
    try:
        payload = _opened(storable_json(json.loads(body)))
        if isinstance(payload, dict) and isinstance(payload.get("data_base64"), str):
            payload = {"data": storable_json(json.loads(base64.b64decode(payload["data_base64"], validate=True)))}
        if isinstance(payload, dict) and isinstance(payload.get("data"), dict):
            payload = _opened(payload["data"])
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


def _opened(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _parsed(key, part) if key in _PARTS else part for key, part in value.items()}


def _parsed(key: str, part: Any) -> Any:
    if not isinstance(part, str):
        return part
    if not part.strip():
        return None
    try:
        return storable_json(json.loads(part))
    except (ValueError, RecursionError) as error:
        message = f"{key}: it is not JSON."
        raise Problem(message, key) from error
