"""What is measured: records whose every field says what it is and in which unit."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, get_type_hints

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """Annotates a field of a record.

    Attributes:
        what: the sentence of the table.
        unit: in which it is; empty for a ratio.
        reach: what it should be, in words, where anything is asked.
    """

    what: str
    unit: str = ""
    reach: str = ""


# A part's results: by the load that they were measured under, a dataclass of annotated fields each.
Results: TypeAlias = Mapping[str, Any]


def figures(record: Any) -> Iterator[tuple[str, Figure, float]]:
    """Yield a record's fields: name, what it is, value."""
    for name, hint in get_type_hints(type(record), include_extras=True).items():
        figure = next((meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, Figure)), None)
        if figure is not None:
            yield name, figure, getattr(record, name)


def as_json(results: Results) -> dict[str, Any]:
    """Return results as they are kept: load, field, then value, unit and sentence."""
    return {
        load: {
            name: {"value": round(value, 4), "unit": figure.unit, "what": figure.what, "reach": figure.reach}
            for name, figure, value in figures(record)
        }
        for load, record in results.items()
    }


def show(part: str, results: Results) -> None:
    """Print results as a table."""
    table = Table("load", "what", "measured", "unit", "to reach", title=part, title_justify="left")
    table.columns[2].justify = "right"
    for load, record in results.items():
        table.add_section()
        for at, (_, figure, value) in enumerate(figures(record)):
            table.add_row("" if at else load, figure.what, in_words(value), figure.unit, figure.reach)
    # In a file or a pipe it would be cut to 80.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def in_words(value: float) -> str:
    """Write a number with three digits that count, and all of those before the point."""
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"
