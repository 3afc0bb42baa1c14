"""Times that people ask for by a word."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from web import parameters


class Offer(Struct, frozen=True):
    """One of them.

    Attributes:
        words: what it is called.
        since: when it begins, in hours from the midnight that today began with.
        until: when it ends; None where it goes on.
    """

    words: str
    since: int
    until: int | None = None

    def query(self, now: datetime) -> Mapping[str, str]:
        """Return its parameters on the day that it is now in UTC."""
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        hours = {"since": self.since, "until": self.until}
        return {name: parameters.stamp(midnight + timedelta(hours=at)) for name, at in hours.items() if at is not None}


OFFERS = (Offer("Today", 0), Offer("Yesterday", -24, 0), Offer("Last night, 22:00 to 06:00", -2, 6))
