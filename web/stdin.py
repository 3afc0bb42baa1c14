"""What comes on stdin, as the content of one message."""

import os
import select
import stat
import sys

from web.failure import WRONG, Failure, say

# No NATS server takes a larger message.
MAX_BYTES = 64 * 1024 * 1024
# A stdin that was only inherited may stay open for ever, and say nothing.
PATIENCE_S = 1.0


def is_fed() -> bool:
    """Say whether stdin is what somebody may have put words into: a pipe, a socket or a file."""
    if sys.stdin is None:
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)


def text() -> str:
    """Return all that comes on stdin, without the newline at its end.

    Raises:
        Failure: it is more than any message can be.
    """
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        message = f"stdin has more than {MAX_BYTES:,} bytes, and NATS takes no message of so many"
        raise Failure(message, WRONG)
    return data.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")


def text_at_hand() -> str | None:
    """Return all that comes on stdin where it has begun to come or is at its end; None where it keeps silent."""
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLIN)
    if poll.poll(PATIENCE_S * 1000):
        return text()
    say("nothing came on stdin, which is still open: the message has no content of it; `-` waits for one")
    return None
