"""When Bytewax is to ask a source again: always, for a source that waits by itself where there is nothing.

Bytewax's own wait ends at a moment by the clock on the wall: one that is set back by an hour would stop a flow for
an hour.
"""

from datetime import UTC, datetime

# Over, by any clock.
LONG_AGO = datetime.fromtimestamp(0, UTC)
