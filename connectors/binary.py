"""The binary format of Postgres' COPY: a row's fields as bytes.

Encoding in Python costs what the driver's own encoder does, and needs neither a connection
nor the thread that has one: rows can be made where there is time.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from struct import Struct

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000

_length = Struct("!i").pack
_read_length = Struct("!i").unpack_from
_count = Struct("!h").pack
_int4 = Struct("!ii").pack
_int8 = Struct("!iq").pack


def parted(fields: bytes) -> Iterator[bytes | None]:
    """Yield the values of a row's fields, None for null."""
    at = 0
    while at < len(fields):
        (length,) = _read_length(fields, at)
        at += 4
        if length < 0:
            yield None
        else:
            yield fields[at : at + length]
            at += length


def text(value: str | None) -> bytes:
    """Return a field of type text.

    Raises:
        UnicodeEncodeError: it holds half of a surrogate pair.
    """
    if value is None:
        return NULL
    encoded = value.encode()
    return _length(len(encoded)) + encoded


def raw(value: bytes) -> bytes:
    """Return a field of a type whose binary form is the value itself: bytea, or a uuid's 16 bytes."""
    return _length(len(value)) + value


def jsonb(encoded: bytes) -> bytes:
    """Return a field of type jsonb, of JSON that is encoded already."""
    return _length(len(encoded) + 1) + b"\x01" + encoded


def int4(value: int) -> bytes:
    """Return a field of type integer.

    Raises:
        struct.error: it is out of range; so for `int8`.
    """
    return _int4(4, value)


def int8(value: int) -> bytes:
    """Return a field of type bigint."""
    return _int8(8, value)


def timestamptz(microseconds: int) -> bytes:
    """Return a field of type timestamptz; what `microseconds_of` gives of a time."""
    return _int8(8, microseconds)


def microseconds_of(time: datetime) -> int:
    """Return the microseconds between the year 2000, where Postgres begins to count, and an aware time."""
    since = time - _EPOCH
    return since.days * _DAY_US + since.seconds * 1_000_000 + since.microseconds


def count(fields: int) -> bytes:
    """Return what a row of so many fields begins with."""
    return _count(fields)
