"""A finished run as the root tells of it: what there is of what it left, and what can't be had."""

from collections.abc import Sequence

from msgspec import Struct

from connectors.objects import Trouble
from flows.artifact import Artifact
from flows.finished import FinishedRun


class Absent(Struct, frozen=True):
    """An artifact that a run is said to have left, and that can't be had."""

    location: str
    attempt: str
    trouble: Trouble
    text: str

    @property
    def may_pass(self) -> bool:
        """Whether it may be there later."""
        return self.trouble is not Trouble.REFUSED


class Listed(Struct):
    """A finished run, and what there is of it.

    Attributes:
        shared: folders of its name or uid that were left alone, since other runs are called so, too.
    """

    run: FinishedRun
    artifacts: list[Artifact] = []
    absent: list[Absent] = []
    shared: Sequence[str] = ()

    @property
    def newest(self) -> float:
        """When it ended, or what it left was last changed; seconds since the Unix epoch."""
        completion = self.run.completion
        if completion is not None and completion.finished_at is not None:
            return completion.finished_at.timestamp()
        told = completion.received_at.timestamp() if completion is not None else 0.0
        return max((each.object.modified for each in self.artifacts), default=told)
