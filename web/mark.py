"""An agent's mark: a hue and a letter that are the same wherever it appears."""

import unicodedata
from functools import lru_cache
from zlib import crc32

# The stylesheet has so many hues; none of them is the red, green or amber that means something.
HUES = 9


@lru_cache(maxsize=4096)
def hue(agent_id: str) -> int:
    """Return the number of the agent's hue."""
    return crc32(agent_id.encode("utf-8", "replace")) % HUES


@lru_cache(maxsize=4096)
def letter(agent_id: str) -> str:
    """Return the agent's first letter or digit, else its first visible character."""
    base = unicodedata.normalize("NFC", agent_id)
    for char in base:
        if char.isalnum():
            return char.upper()[:1]
    for char in base:
        # Marks and controls have no shape of their own.
        if unicodedata.category(char)[0] not in "MCZ":
            return char
    return "?"
