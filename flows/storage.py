"""How messages and dead letters are stored: their tables, rows and what goes with them."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from struct import Struct as Format
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import Cursor

import sql
from connectors import binary
from connectors.copy import CopyTable, Row
from connectors.delivery import JetStreamMessage
from connectors.postgres import Acks, PostgresSink
from connectors.store import Destination, Written
from flows.dead_letter import DeadLetter, Reason, UnfitError
from flows.duplicate import Duplicate
from flows.identity import row_id
from flows.message import CHANNEL_RUN, DEFAULT_NAMESPACE, Message
from flows.normalize import UNKNOWN_AGENT, dead_letter
from flows.redact import Redactor
from flows.runs import roll_up

log = logging.getLogger(__name__)

MESSAGES = CopyTable(
    name=(sql.SCHEMA, "agent_messages"),
    columns=(
        "id", "workflow_uid", "workflow_name", "workflow_namespace", "run_id", "step_id", "agent_id", "role", "kind",
        "channel", "stage", "timestamp", "content", "attrs", "dedupe_key",
    ),
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
    key="dedupe_key",
)

# From the Unix epoch to Postgres'.
_EPOCH_MS = 946_684_800_000
_UUID_LENGTH = b"\0\0\0\x10"
_length = Format("!i").pack
_time_and_length = Format("!iqi").pack
_jsonb_head = Format("!ib").pack

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


class Ready(Struct, frozen=True, gc=False):
    """A message with its row, ready to be written.

    Attributes:
        row: None where it could not be made: the sink makes it once more, and deals with the error.
        reply: where it is acked.
        size: bytes of its payload.
    """

    message: Message
    row: Row | None
    reply: str
    size: int

    @property
    def origin(self) -> JetStreamMessage | None:
        """What is kept of it where Postgres refuses it."""
        return self.message.origin


def messages(conninfo: str, redactor: Redactor) -> Destination[Ready | Duplicate]:
    """Return where messages are stored, with their runs and the signal to live readers.

    What can't be stored of them becomes a dead letter, without its credentials too.
    """

    def keep_refused(cursor: Cursor[Any], item: Ready | Duplicate, why: str) -> None:
        if not isinstance(item, Ready) or (origin := item.origin) is None:
            message = f"a message without its bytes can't be kept: {why}"
            raise LookupError(message)
        letter = redactor.letter(dead_letter(origin, UnfitError(Reason.REFUSED_BY_POSTGRES, why)))
        refused = item.message
        log.warning(
            "Postgres refuses a message, which is kept as a dead letter",
            extra={
                "run": f"{refused.workflow_namespace}/{refused.workflow_uid}",
                "message_id": refused.attrs.get("message_id"),
                "stream_seq": letter.stream_seq,
                "todo": "see `agent-comms dead-letters show`, which has Postgres' words; repair, then replay it",
            },
        )
        plain = {"headers": _encode(letter.headers).decode(), "reason": letter.reason.value}
        cursor.execute(_statement("insert_dead_letter"), msgspec.structs.asdict(letter) | plain)

    return Destination(
        conninfo=conninfo,
        table=MESSAGES,
        row=_row,
        lock=_statement("lock_seq"),
        free=_statement("free_seq_lock"),
        within=_add_to_runs,
        reject=keep_refused,
        sample=ready(SAMPLE_MESSAGE),
    )


def messages_sink(
    conninfo: str,
    acks: Acks,
    redactor: Redactor,
    done: Callable[[Written[Ready | Duplicate]], None],
    failed: Callable[[Exception], None],
    unanswered: Callable[[], None],
    max_tries: int,
    ending: Callable[[], bool],
) -> PostgresSink[Ready | Duplicate]:
    """Return the sink that stores messages and acks them; `ending` says whether the dataflow is to end."""
    return PostgresSink(
        destination=messages(conninfo, redactor),
        reply=attrgetter("reply"),
        size=attrgetter("size"),
        acks=acks,
        done=done,
        failed=failed,
        unanswered=unanswered,
        max_tries=max_tries,
        ending=ending,
    )


def dead_letters_sink(
    conninfo: str,
    acks: Acks,
    done: Callable[[Written[DeadLetter]], None],
    failed: Callable[[Exception], None],
    unanswered: Callable[[], None],
    ending: Callable[[], bool],
) -> PostgresSink[DeadLetter]:
    """Return the sink that stores dead letters and acks them; `ending` as in `messages_sink`."""
    return PostgresSink(
        destination=Destination(conninfo=conninfo, table=DEAD_LETTERS, row=letter_row, sample=SAMPLE_LETTER),
        reply=attrgetter("reply"),
        size=lambda letter: len(letter.payload),
        acks=acks,
        done=done,
        failed=failed,
        unanswered=unanswered,
        ending=ending,
    )


def ready(message: Message) -> Ready:
    """Return a message with its row; never raises."""
    try:
        row = message_row(message)
    except Exception:  # whatever it is, it must not end the flow
        row = None
    return Ready(message, row, message.reply, message.size)


def _row(item: Ready | Duplicate) -> Row | None:
    return None if isinstance(item, Duplicate) else item.row or message_row(item.message)


def message_row(item: Message) -> Row:
    """Return a message's row."""
    names = names_field(
        item.workflow_uid,
        item.workflow_name,
        item.workflow_namespace,
        item.run_id,
        item.step_id,
        item.agent_id,
        item.role,
        item.kind,
        item.channel,
        item.stage,
    )
    microseconds = binary.microseconds_of(item.timestamp)
    return row_of(item.dedupe_key, microseconds, names, item.content.encode(), _encode(item.attrs))


def row_of(key: str, microseconds: int, names: bytes, content: bytes, attrs: bytes) -> Row:
    """Return the row of a message.

    Args:
        key: the message's.
        microseconds: its time, since Postgres' epoch.
        names: `names_field` of it.
        content: as UTF-8.
        attrs: a JSON object.
    """
    # As `connectors.binary` writes fields, with fewer calls: every message passes here.
    encoded_key = key.encode()
    fields = (
        _UUID_LENGTH,
        row_id(key, microseconds // 1000 + _EPOCH_MS),
        names,
        _time_and_length(8, microseconds, len(content)),
        content,
        _jsonb_head(len(attrs) + 1, 1),
        attrs,
        _length(len(encoded_key)),
        encoded_key,
    )
    return Row(key, b"".join(fields))


# What one agent says in one run differs in little else than the content.
@lru_cache(maxsize=16_384)
def names_field(*names: str | None) -> bytes:
    """Return the fields between a row's id and its time, from the uid to the stage."""
    return b"".join(map(binary.text, names))


def letter_row(letter: DeadLetter) -> Row:
    """Return a dead letter's row."""
    fields = (
        binary.int8(letter.stream_seq),
        binary.int8(letter.stored_at),
        binary.text(letter.subject),
        binary.jsonb(_encode(letter.headers)),
        binary.raw(letter.payload),
        binary.text(letter.reason.value),
        binary.text(letter.detail),
        binary.int4(letter.deliveries),
        binary.text(letter.dedupe_key),
    )
    return Row(letter.dedupe_key, b"".join(fields))


def _add_to_runs(cursor: Cursor[Any], new: Sequence[Ready | Duplicate]) -> None:
    deltas = roll_up(item.message for item in new if isinstance(item, Ready))
    if deltas:
        cursor.execute(_statement("add_to_runs"), {"runs": _encode(deltas).decode()})
    cursor.execute(_statement("notify_messages"))


def _statement(name: str) -> bytes:
    return sql.query(name).encode()
