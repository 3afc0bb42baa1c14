"""Numbers, spans of time and sizes as people say them."""

from datetime import datetime

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


# What turns the writing of everything behind it around.
_TURNING = dict.fromkeys(map(ord, "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"), "\ufffd")


def count(number: int, noun: str) -> str:
    """Return `1 message`, `1,204 messages`."""
    if number == 1:
        return f"{number:,} {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("try") else f"{number:,} {noun}s"


def name(text: object) -> str:
    """Return a name as it may be shown: no sign in it turns the writing around, as in `evil\u202efdp.exe`."""
    return str(text).translate(_TURNING)


def span(seconds: float) -> str:
    """Return a duration in at most two units: `320 ms`, `4.1 s`, `12 min`, `3 h 5 min`."""
    if seconds < 0:
        seconds = 0
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for position, (length, unit) in enumerate(_UNITS):
        if whole >= length:
            first, rest = divmod(whole, length)
            small, name = _UNITS[position + 1] if position + 1 < len(_UNITS) else (1, "s")
            second = rest // small
            # Seconds beside many minutes are noise.
            if second and not (name == "s" and first >= 10):
                return f"{first:,} {unit} {second} {name}"
            return f"{first:,} {unit}"
    return f"{whole} s"


def moment(at: datetime) -> str:
    """Return a moment as somebody has chosen it: `4 May 2026, 12:00:00 UTC`."""
    return f"{at.day} {at:%b} {at.year}, {at:%H:%M:%S} UTC"


def size(number: int) -> str:
    """Return a number of bytes: `812 B`, `64 KB`, `1.2 MB`."""
    if number < 1_000:
        return f"{number} B"
    if number < 1_000_000:
        return f"{number / 1_000:.0f} KB"
    return f"{number / 1_000_000:.1f} MB"


def ago(then: datetime, now: datetime) -> str:
    """Return how long ago it was under an hour, the time of the day under a day, else the date."""
    seconds = (now - then).total_seconds()
    if seconds < 5:
        return "now"
    if seconds < 60:
        return f"{int(seconds)} s ago"
    if seconds < 3_600:
        return f"{int(seconds // 60)} min ago"
    if then.date() == now.date():
        return f"{then:%H:%M}"
    if then.year == now.year:
        return f"{then.day} {then:%b}, {then:%H:%M}"
    return f"{then.day} {then:%b} {then.year}"
