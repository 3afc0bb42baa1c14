"""Durations as Go, and so NATS and Kubernetes, write them: `168h`, `1h30m`, `500ms`."""

import re
from fractions import Fraction

# Go takes both signs for micro.
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_QUANTITY = re.compile(rf"(\d+(?:\.\d*)?|\.\d+)({'|'.join(sorted(_UNITS, key=len, reverse=True))})", re.ASCII)
_DURATION = re.compile(f"(?:{_QUANTITY.pattern})+", re.ASCII)


class Seconds(float):
    """A Go duration, in seconds."""


def parse_duration(text: object) -> Seconds:
    """Read a Go duration: `168h`, `1h30m`, `500ms`.

    Raises:
        ValueError: it is none; days and weeks are not.
    """
    if text == "0":
        return Seconds(0)
    if isinstance(text, str) and _DURATION.fullmatch(text):
        parts = _QUANTITY.findall(text)
        return Seconds(float(sum(Fraction(number) * _UNITS[unit] for number, unit in parts) / 10**9))
    message = f"{text!r} is no duration like 168h, 30s or 500ms"
    if isinstance(text, str) and re.search(r"\d[dw]", text):
        message += "; there is no unit for days, so a day is 24h"
    raise ValueError(message)


def format_duration(seconds: float) -> str:
    """Write seconds as the shortest Go duration."""
    nanoseconds = round(seconds * 10**9)
    if nanoseconds % 10**9:
        unit = next(unit for unit in ("ms", "us", "ns") if not nanoseconds % _UNITS[unit])
        return f"{nanoseconds // _UNITS[unit]}{unit}"
    minutes, rest = divmod(nanoseconds // 10**9, 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if n) or "0s"
