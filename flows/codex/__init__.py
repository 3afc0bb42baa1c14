"""What Codex writes, read as messages: a module for each age of the format, one reader for all.

The publisher that follows a file and the backfill that reads it afterwards use the same
`Reader`, so that a line is the same message, with the same id, whoever reads it.
"""

from flows.codex.line import BLANK, NEVER_WRITTEN, TOO_LONG, UNREADABLE, message_id, nothing
from flows.codex.reader import FileKind, Reader, artifact_name
from flows.codex.skimmer import Skimmer
from flows.codex.state import State

__all__ = [
    "BLANK",
    "NEVER_WRITTEN",
    "TOO_LONG",
    "UNREADABLE",
    "FileKind",
    "Reader",
    "Skimmer",
    "State",
    "artifact_name",
    "message_id",
    "nothing",
]
