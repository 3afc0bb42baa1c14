"""Which right each route needs. One that says nothing is open to nobody."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from flask import Flask

from web.person import Right

F = TypeVar("F", bound=Callable[..., Any])

Need = Right | Literal["open"]
_ATTRIBUTE = "needs_right"


def needs(right: Need) -> Callable[[F], F]:
    """Declare what a route needs; stands below the line that gives it its address."""

    def declare(view: F) -> F:
        setattr(view, _ATTRIBUTE, right)
        return view

    return declare


def need_of(app: Flask, endpoint: str) -> Need | None:
    """Return what a route needs; None where it doesn't say."""
    if endpoint == "static":
        return "open"
    need: Need | None = getattr(app.view_functions[endpoint], _ATTRIBUTE, None)
    return need
