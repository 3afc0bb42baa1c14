"""Times that people ask for by a word."""

from datetime import UTC, datetime

from web.days import OFFERS

NOW = datetime(2026, 5, 1, 0, 30, tzinfo=UTC)


def test_today_yesterday_and_last_night_are_told_from_the_midnight_before() -> None:
    asked = [{name: at[5:16] for name, at in offer.query(NOW).items()} for offer in OFFERS]
    assert asked == [
        {"since": "05-01T00:00"},
        {"since": "04-30T00:00", "until": "05-01T00:00"},
        {"since": "04-30T22:00", "until": "05-01T06:00"},
    ]
