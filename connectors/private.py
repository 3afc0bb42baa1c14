"""Files that nobody but their owner may read."""

import os
from pathlib import Path


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file for its owner alone, and whole from the first moment."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    unfinished.replace(path)
