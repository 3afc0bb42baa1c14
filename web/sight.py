"""Which namespaces whoever is being answered may read.

Kept in the context of a request, so that nothing on the way to Postgres has to pass it on and
no new route can forget to: every connection that is lent asks for it (see `web.pool`), and
where nobody has said anything, nothing is seen.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from msgspec import Struct

from flows.message import DEFAULT_NAMESPACE

ALL = "*"


class Sight(Struct, frozen=True):
    """Some namespaces, in the order in which they were given; or all."""

    namespaces: tuple[str, ...]

    def __contains__(self, namespace: object) -> bool:
        return self.is_everything or namespace in self.namespaces

    @property
    def is_everything(self) -> bool:
        """Whether all namespaces are in it."""
        return ALL in self.namespaces

    def within(self, namespace: str | None) -> list[str] | None:
        """Return the namespaces of a question, perhaps for one alone; None for all of them."""
        if namespace is None:
            return None if self.is_everything else [*self.namespaces]
        return [namespace] if namespace in self else []

    @property
    def sole(self) -> str | None:
        """The only namespace; None where there are others, or none."""
        return self.namespaces[0] if len(self.namespaces) == 1 and not self.is_everything else None

    @property
    def home(self) -> str:
        """Where somebody speaks who doesn't say where; there is always such a place, though it need not be in it."""
        return DEFAULT_NAMESPACE if DEFAULT_NAMESPACE in self or not self.namespaces else self.namespaces[0]


EVERYTHING = Sight((ALL,))
NOTHING = Sight(())

_current: ContextVar[Sight] = ContextVar("sight", default=NOTHING)


def current() -> Sight:
    """Return what may be read here."""
    return _current.get()


def look(sight: Sight) -> None:
    """Let what follows in this context read so much and no more."""
    _current.set(sight)


@contextmanager
def seeing(sight: Sight) -> Iterator[None]:
    """Let so much be read within."""
    before = _current.set(sight)
    try:
        yield
    finally:
        _current.reset(before)
