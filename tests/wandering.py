"""Clients that drop and resume at random, wherever they are led to, while writers write."""

import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPException

import psycopg

from tests.watcher import Follower
from tests.writers import Writer

CLIENTS = 12
WRITERS = 3
UID = "wanderers"
# What a client sees of a web that ends.
DISTURBED = (OSError, HTTPException)


def wander(url: str, database: str, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> int:
    """Compare what clients have seen with what is stored: each message once, in one order for all.

    Args:
        url: where the clients are led to.
        database: what the writers write to.
        seconds: how long.
        meanwhile: done after all clients have begun.

    Returns:
        How many messages there were.
    """
    seed = random.Random(5)
    with Writer(database, workflow_uid=UID) as writer:
        writer.say("first")
        followers = [
            Follower(url, until="last", drop_after=lambda: seed.randint(1, 40), through=DISTURBED, workflowUid=UID)
            for _ in range(CLIENTS)
        ]
        for follower in followers:
            follower.start()
        for follower in followers:
            assert follower.ready.wait(120)
        until = time.monotonic() + seconds
        speakers = [threading.Thread(target=_speak, args=(database, seed, until)) for _ in range(WRITERS)]
        for speaker in speakers:
            speaker.start()
        meanwhile()
        for speaker in speakers:
            speaker.join()
        writer.say("last")
    with closing(psycopg.connect(database)) as connection:
        query = "SELECT seq FROM workflow_comms.agent_messages WHERE workflow_uid = %s ORDER BY seq"
        stored = [seq for (seq,) in connection.execute(query, [UID]).fetchall()]
    for follower in followers:
        follower.join(300)
        seen = [event.data["seq"] for event in follower.events]
        assert seen == stored, _difference(seen, stored)
    return len(stored)


def _speak(database: str, seed: random.Random, until: float) -> None:
    with Writer(database, workflow_uid=UID) as writer:
        while time.monotonic() < until:
            writer.say(*map(str, range(seed.randint(1, 5))), held=seed.random() * 0.01)
            time.sleep(seed.random() * 0.1)


def _difference(seen: list[int], stored: list[int]) -> str:
    place = next((n for n, (one, other) in enumerate(zip(seen, stored, strict=False)) if one != other), len(seen))
    return f"{len(seen)} of {len(stored)}, differing at {place}: {seen[place : place + 5]}, {stored[place : place + 5]}"
