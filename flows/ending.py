"""How a run ended, as who started or watched it knows."""

from msgspec import Struct

SUCCEEDED = 0


class Ending(Struct, frozen=True):
    """How a run ended; of one that nobody knows anything of it is only known that it is over.

    Attributes:
        exit_code: where it is known.
        problem: why it is taken for failed, where no exit code says so.
        is_good: it is taken for succeeded, where no exit code says so.
    """

    exit_code: int | None = None
    problem: str = ""
    is_good: bool = False

    @property
    def status(self) -> str:
        """Return the word for it."""
        if self.exit_code or self.problem:
            return "failed"
        return "succeeded" if self.exit_code == SUCCEEDED or self.is_good else "unknown"

    @property
    def words(self) -> str:
        """Return the words for it."""
        match self.status:
            case "failed":
                return f"failed (exit code {self.exit_code})" if self.exit_code else f"failed: {self.problem}"
            case "succeeded":
                return "succeeded"
        return "ended; how is not known"
