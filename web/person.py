"""Who asks, and what they may do where."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from web.sight import ALL, EVERYTHING, Sight

Right = Literal["read", "speak", "operate"]
RIGHTS: tuple[Right, ...] = ("read", "speak", "operate")
# How somebody said who they are.
How = Literal["none", "token", "cookie", "proxy"]


class Person(Struct, frozen=True):
    """Somebody who may do something in some namespaces.

    Attributes:
        name: None where nobody is asked who they are.
        read: where they may read.
        speak: where they may speak.
        operate: where they may do what operators do.
    """

    name: str | None
    how: How
    read: Sight
    speak: Sight
    operate: Sight

    def sight(self, right: Right) -> Sight:
        """Return where they have a right."""
        return {"read": self.read, "speak": self.speak, "operate": self.operate}[right]

    def may(self, right: Right) -> bool:
        """Whether they have a right anywhere."""
        return bool(self.sight(right).namespaces)


ANYBODY = Person(None, "none", EVERYTHING, EVERYTHING, EVERYTHING)


def make_person(name: str, how: How, grants: Iterable[tuple[tuple[str, ...], tuple[Right, ...]]]) -> Person:
    """Return a person with some grants: namespaces, and the rights in them."""
    given = list(grants)

    def sight(right: Right) -> Sight:
        namespaces = dict.fromkeys(namespace for where, rights in given if right in rights for namespace in where)
        return EVERYTHING if ALL in namespaces else Sight(tuple(namespaces))

    return Person(name, how, *map(sight, RIGHTS))
