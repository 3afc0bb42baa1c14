"""Waiting for a Postgres that is away, for a while."""

import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import psycopg

from connectors.blame import Blame, blame, in_one_line

log = logging.getLogger(__name__)
T = TypeVar("T")

BACKOFF_S = (0.2, 5.0)


def insist(action: Callable[[], T], patience: timedelta, reset: Callable[[], None]) -> T:
    """Do something that can be done again, and do it again while Postgres is away.

    Args:
        action: what to do.
        patience: for how long.
        reset: drops what connections there are, before each further try.

    Raises:
        psycopg.Error: Postgres stays away for longer, or it is something else.
    """
    end = time.monotonic() + patience.total_seconds()
    wait, most = BACKOFF_S
    while True:
        try:
            return action()
        except psycopg.Error as error:
            reset()
            if blame(error) is not Blame.SERVER or time.monotonic() + wait > end:
                raise
            log.warning("postgres: %s; trying again", in_one_line(error), extra={"todo": "see to Postgres"})
        time.sleep(wait * random.uniform(0.5, 1))  # noqa: S311  # no secret
        wait = min(most, wait * 2)
