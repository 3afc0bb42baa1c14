"""What JetStream answers to a publish: that the message is stored, or why it is not."""

import msgspec
from msgspec import Struct

_STREAM_MESSAGE_TOO_LARGE = 10054
_SERVER_ERROR = 500


class PublishError(Exception):
    """A message was not stored, as far as is known; the text is one line."""


class NotPermitted(PublishError):
    """This user may not publish on the subject, or not listen for acknowledgements."""


class NoStream(PublishError):
    """No stream takes the subject."""


class TooLarge(PublishError):
    """The server or the stream takes no message of this size."""


class Refused(PublishError):
    """The stream answered with an error."""


class NoAnswer(PublishError):
    """The server could not be reached, or did not acknowledge in time. It may have stored the message."""


class PubAck(Struct, frozen=True):
    """The server's word that a message is stored.

    Attributes:
        duplicate: whether a message with its id was already there.
        retried: whether it was sent more than once, so that a duplicate is no wonder.
    """

    stream: str
    seq: int
    duplicate: bool = False
    retried: bool = False


class _ApiError(Struct, frozen=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(Struct, frozen=True):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _ApiError | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def read_answer(data: bytes, subject: str) -> tuple[PubAck | PublishError, bool]:
    """Read what came back for a publish on a subject.

    Returns:
        The acknowledgement or the error, and whether another try may do better.
    """
    if not data:
        # "No responders": nothing listens on the subject.
        return NoStream(f"no stream takes {subject}"), True
    try:
        answer = _decode(data)
    except msgspec.DecodeError:
        return Refused(f"something else than a stream answers on {subject}"), False
    error = answer.error
    if error is None:
        return PubAck(answer.stream, answer.seq, answer.duplicate), False
    if error.err_code == _STREAM_MESSAGE_TOO_LARGE:
        return TooLarge("the message is larger than the stream takes"), False
    return Refused(f"the stream refused: {error.description}"), error.code >= _SERVER_ERROR


def too_large(size: int, limit: int) -> TooLarge:
    """Return the error of a message that the server would end the connection over."""
    return TooLarge(f"the message has {size:,} bytes with its headers; the server takes {limit:,}")
