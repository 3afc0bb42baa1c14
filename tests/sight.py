"""Tests that ask Postgres in this process see everything, unless they say otherwise."""

from collections.abc import Iterator

import pytest

from web.sight import EVERYTHING, seeing


@pytest.fixture(autouse=True)
def sees_everything() -> Iterator[None]:
    with seeing(EVERYTHING):
        yield
