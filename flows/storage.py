"""How messages and dead letters are stored: their tables, rows and what goes with them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg import Cursor

import sql
from connectors.copy import CopyTable, Row
from connectors.postgres import Acks, PostgresSink
from connectors.store import Destination, Written
from flows.dead_letter import DeadLetter, Reason, UnfitError
from flows.dedupe import Duplicate
from flows.identity import row_id
from flows.message import CHANNEL_RUN, DEFAULT_NAMESPACE, Message
from flows.normalize import UNKNOWN_AGENT, dead_letter
from flows.redact import Redactor
from flows.runs import roll_up

MESSAGES = CopyTable(
    name=(sql.SCHEMA, "agent_messages"),
    columns=(
        "id", "workflow_uid", "workflow_name", "workflow_namespace", "run_id", "step_id", "agent_id", "role", "kind",
        "timestamp", "channel", "stage", "content", "attrs", "dedupe_key",
    ),
    types=("uuid", *["text"] * 8, "timestamptz", "text", "text", "text", "jsonb", "text"),
    key="dedupe_key",
)  # fmt: skip
DEAD_LETTERS = CopyTable(
    name=(sql.SCHEMA, "dead_letters"),
    columns=(
        "stream_seq",
        "stored_at",
        "subject",
        "headers",
        "payload",
        "reason",
        "detail",
        "deliveries",
        "dedupe_key",
    ),
    types=("int8", "int8", "text", "jsonb", "bytea", "text", "text", "int4", "text"),
    key="dedupe_key",
)

# What fits wherever anything does. It is written and rolled back, so nobody ever sees it.
_SAMPLE = "00000000000000000000000000000000"
SAMPLE_MESSAGE = Message(
    workflow_uid=_SAMPLE,
    workflow_name=_SAMPLE,
    workflow_namespace=DEFAULT_NAMESPACE,
    run_id=None,
    step_id=None,
    agent_id=UNKNOWN_AGENT,
    role="system",
    kind="status",
    timestamp=datetime.fromtimestamp(0, UTC),
    channel=CHANNEL_RUN,
    stage=None,
    content="a sample",
    attrs={},
    dedupe_key=_SAMPLE,
)
SAMPLE_LETTER = DeadLetter(
    subject="workflow",
    headers={},
    payload=b"",
    reason=Reason.NOT_JSON,
    detail="A sample.",
    stream_seq=0,
    stored_at=0,
    deliveries=1,
    dedupe_key=_SAMPLE,
)

_encode = msgspec.json.Encoder().encode


def messages(conninfo: str, redactor: Redactor) -> Destination[Message | Duplicate]:
    """Return where messages are stored, with their runs and the signal to live readers.

    What can't be stored of them becomes a dead letter, without its credentials too.
    """

    def keep_refused(cursor: Cursor[Any], item: Message | Duplicate, why: str) -> None:
        origin = item.origin if isinstance(item, Message) else None
        if origin is None:
            message = f"a message without its bytes can't be kept: {why}"
            raise LookupError(message)
        unfit = UnfitError(Reason.REFUSED_BY_POSTGRES, why)
        values = letter_row(redactor.letter(dead_letter(origin, unfit)))
        cursor.execute(_statement("insert_dead_letter"), dict(zip(DEAD_LETTERS.columns, values, strict=True)))

    return Destination(
        conninfo=conninfo,
        table=MESSAGES,
        row=message_row,
        lock=_statement("lock_seq"),
        within=_add_to_runs,
        reject=keep_refused,
        sample=SAMPLE_MESSAGE,
    )


def messages_sink(
    conninfo: str,
    acks: Acks,
    redactor: Redactor,
    done: Callable[[Written[Message | Duplicate]], None],
    max_tries: int,
) -> PostgresSink[Message | Duplicate]:
    """Return the sink that stores messages and acks them."""
    return PostgresSink(
        destination=messages(conninfo, redactor),
        reply=lambda item: item.reply,
        size=lambda item: item.size if isinstance(item, Message) else 0,
        acks=acks,
        done=done,
        max_tries=max_tries,
    )


def dead_letters_sink(
    conninfo: str, acks: Acks, done: Callable[[Written[DeadLetter]], None]
) -> PostgresSink[DeadLetter]:
    """Return the sink that stores dead letters and acks them."""
    return PostgresSink(
        destination=Destination(conninfo=conninfo, table=DEAD_LETTERS, row=letter_row, sample=SAMPLE_LETTER),
        reply=lambda letter: letter.reply,
        size=lambda letter: len(letter.payload),
        acks=acks,
        done=done,
    )


def message_row(item: Message | Duplicate) -> Row | None:
    """Return a message's values in the order of the table's columns; None for a duplicate."""
    if isinstance(item, Duplicate):
        return None
    return (
        row_id(item.dedupe_key, item.timestamp),
        item.workflow_uid,
        item.workflow_name,
        item.workflow_namespace,
        item.run_id,
        item.step_id,
        item.agent_id,
        item.role,
        item.kind,
        item.timestamp,
        item.channel,
        item.stage,
        item.content,
        _encode(item.attrs),
        item.dedupe_key,
    )


def letter_row(letter: DeadLetter) -> Row:
    """Return a dead letter's values in the order of the table's columns."""
    return (
        letter.stream_seq,
        letter.stored_at,
        letter.subject,
        _encode(letter.headers),
        letter.payload,
        letter.reason.value,
        letter.detail,
        letter.deliveries,
        letter.dedupe_key,
    )


def _add_to_runs(cursor: Cursor[Any], new: Sequence[Message | Duplicate]) -> None:
    deltas = roll_up(item for item in new if isinstance(item, Message))
    if deltas:
        cursor.execute(_statement("add_to_runs"), {"runs": _encode(deltas).decode()})
    cursor.execute(_statement("notify_messages"))


def _statement(name: str) -> bytes:
    return sql.query(name).encode()
