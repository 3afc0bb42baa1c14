"""The desk, the spool and the outbox of one agent, put together."""

from collections.abc import Callable
from typing import Self

from msgspec import Struct

from connectors.outbox import Outbox
from connectors.parcel import Parcel
from connectors.puback import PublishError
from connectors.spool import Spool, SpoolError
from flows.ledger import Desk
from flows.nats import nats_options
from flows.payload import Speaker, shrink
from flows.settings import Settings
from flows.tracing import Tracing

MEMORY_SPOOL_BYTES = 16 * 1024 * 1024


class Post(Struct):
    """What an agent publishes through.

    Attributes:
        desk: where an earlier publisher's ledger is.
        outbox: to be started, and closed before the desk.
        tracing: closed after both.
    """

    desk: Desk
    outbox: Outbox
    tracing: Tracing | None = None

    @classmethod
    def of(
        cls,
        settings: Settings,
        speaker: Speaker,
        name: str,
        *,
        say: Callable[[str], None],
        on_trouble: Callable[[Exception], None],
        on_left: Callable[[Parcel, PublishError], None],
        on_lost: Callable[[str, int, int], None],
    ) -> Self:
        """Take a desk of the agent's; where there can be none, the spool is kept in memory.

        Args:
            settings: where and as whom.
            speaker: the agent.
            name: of the connection.
            say: told what somebody should know, in one line.
            on_trouble: as of `Outbox`.
            on_left: as of `Outbox`.
            on_lost: as `lost` of `Spool`; at once, and from any thread once the outbox is started.

        Raises:
            SettingError: a setting could never work.
        """
        # What the agent does never depends on a file that is being exchanged, or that somebody has got wrong.
        options = nats_options(settings, name, patient=True)
        waiting = 0

        def count(parcel: Parcel) -> None:
            nonlocal waiting
            waiting += parcel.counts

        def lose(origin: str, first: int, last: int) -> None:
            if outbox is not None:
                outbox.waiting -= last - first + 1
            on_lost(origin, first, last)

        outbox: Outbox | None = None
        size = settings.agent_comms_spool_bytes
        try:
            desk = Desk.of(settings, speaker)
            spool = Spool(desk.folder and desk.folder / "spool", size, recovered=count, lost=lose)
        except (OSError, SpoolError) as error:
            size = min(size, MEMORY_SPOOL_BYTES)
            say(f"AGENT_COMMS_SPOOL_DIR: {error}; what NATS doesn't take is kept in memory, {size:,} bytes of it")
            desk, spool = Desk(None), Spool(None, size, lost=lose)
        tracing = Tracing.of(name)
        outbox = Outbox(
            options,
            spool,
            waiting=waiting,
            shrink=shrink,
            on_trouble=on_trouble,
            on_left=on_left,
            depart=tracing.depart if tracing else None,
        )
        return cls(desk, outbox, tracing)

    def close(self) -> None:
        """Stop sending; what is not acknowledged is kept for the next publisher."""
        self.outbox.close()
        self.desk.close()
        if self.tracing:
            self.tracing.close()
