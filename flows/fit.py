"""Makes what is said fit into a message, cutting no more than it must."""

from typing import Any

import msgspec

from flows.spelling import Claim

# For what a message says beside content, tool and attrs: a dozen names of 256 characters at most.
ENVELOPE_BYTES = 16 * 1024
# A part that is smaller is never cut: the marker would take its place.
_SMALL_BYTES = 1024


def budget(max_message_bytes: int) -> int:
    """Return how many bytes content, tool and attrs may take together."""
    return max(max_message_bytes - ENVELOPE_BYTES, 2 * _SMALL_BYTES)


def fit(claim: Claim, budget: int, whole: str = "") -> bool:
    """Cut the largest parts of what is said until they fit, each with a marker that tells its full size.

    Args:
        claim: storable; changed in place.
        budget: bytes for content, tool and attrs as JSON.
        whole: where the whole is.

    Returns:
        Whether something was cut.
    """
    parts = _parts(claim)
    total = sum(parts.values())
    if total <= budget:
        return False
    if claim.tool and ("tool", "output") in parts and claim.tool["output"] == claim.content:
        # The same text twice: the content has it.
        claim.tool = {name: value for name, value in claim.tool.items() if name != "output"}
        total -= parts.pop(("tool", "output"))
    level = _level(sorted(parts.values()), budget)
    for place, size in parts.items():
        if size > level and total > budget:
            _set(claim, place, _cut(_text(_get(claim, place)), level, whole))
    attrs = {**(claim.attrs or {}), "truncated": True}
    if claim.content is not None and (size := parts.get(("content", ""), 0)) > level:
        attrs["output_bytes"] = size
    claim.attrs = attrs
    return True


def _parts(claim: Claim) -> dict[tuple[str, str], int]:
    """Return the size of each part, in bytes as JSON."""
    parts = {("content", ""): _size(claim.content)}
    for field in ("tool", "attrs"):
        for name, value in (getattr(claim, field) or {}).items():
            parts[field, name] = _size(value) + len(name) + 4
    return parts


def _level(sizes: list[int], budget: int) -> int:
    """Return the size to which everything larger is cut, so that all together just fit."""
    left = budget
    for number, size in enumerate(sizes):
        share = left // (len(sizes) - number)
        if size > share:
            return max(share, _SMALL_BYTES)
        left -= size
    return budget


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value))


def _get(claim: Claim, place: tuple[str, str]) -> Any:
    field, name = place
    return getattr(claim, field)[name] if name else getattr(claim, field)


def _set(claim: Claim, place: tuple[str, str], value: str) -> None:
    field, name = place
    setattr(claim, field, {**getattr(claim, field), name: value} if name else value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cut(text: str, size: int, whole: str) -> str:
    """Return the beginning of a text and a marker, `size` bytes as JSON at most."""
    full = len(text.encode())
    marker = f"\n… [cut: {full:,} bytes in all{f'; the whole is {whole}' if whole else ''}]"
    encoded = msgspec.json.encode(text)[: max(size - len(marker.encode()) - 16, 1)]
    # The end may be in the middle of a character or of an escape.
    for back in range(16):
        try:
            return str(msgspec.json.decode(encoded[: len(encoded) - back] + b'"')) + marker
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return marker.lstrip()
