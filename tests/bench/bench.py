"""What every part of the bench gets: servers, a folder, and how much there is time for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from connectors.embedded import EmbeddedNats, EmbeddedPostgres
from tests.bench.corpus import Corpus
from tests.servers import StreamHandle, fresh_database
from tests.waiting import wait_until

# So much is on its way to the stream at most: past 10,000 messages a server drops what it has no time
# to store, and past 8 MiB our own client refuses more.
UNCONFIRMED = 2_000
UNCONFIRMED_BYTES = 4_000_000
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Bench:
    """Real servers, and the size of the menu.

    Attributes:
        scale: 1 for the full menu; less for a part of its messages and seconds.
    """

    nats: EmbeddedNats
    postgres: EmbeddedPostgres
    stream: StreamHandle
    folder: Path
    scale: float

    def messages(self, full: int) -> int:
        """Return how many of the full menu's messages to take."""
        return max(1_000, round(full * self.scale))

    def seconds(self, full: float) -> float:
        """Return how many of the full menu's seconds to take, three at least."""
        return max(3.0, full * self.scale)

    @property
    def rounds(self) -> int:
        """How often what is noisy is repeated; the best counts."""
        return 3 if self.scale >= 1 else 1

    @contextmanager
    def database(self) -> Iterator[str]:
        """Give an empty database, with nothing left to be written of those before."""
        with psycopg.connect(self.postgres.dsn(), autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        with fresh_database(self.postgres) as dsn:
            yield dsn

    def fill(self, corpus: Corpus, number: int) -> None:
        """Make the stream anew and publish the first messages of a corpus."""
        self.stream.create()

        async def publish() -> None:
            client = self.stream.connection.client
            js = self.stream.connection.jetstream()
            sent = size = 0
            for message in map(corpus, range(number)):
                sent, size = sent + 1, size + len(message.payload)
                if sent >= UNCONFIRMED or size >= UNCONFIRMED_BYTES:
                    await js.publish(message.subject, message.payload, timeout=60)
                    sent = size = 0
                else:
                    await client.publish(message.subject, message.payload)
            await client.flush()

        self.stream.connection.run(publish())
        wait_until(lambda: self.stream.info().state.messages == number, "the stream to hold them all")
