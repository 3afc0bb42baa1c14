"""Migrations and queries, as .sql files a DBA can read.

Every query file begins with one `--` sentence that says what it is for.
"""

from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
MIGRATIONS = HERE / "migrations"
QUERIES = HERE / "queries"
# Where every table of ours is.
SCHEMA = "workflow_comms"


@cache
def query(name: str) -> str:
    """Return the text of `queries/<name>.sql`; raises `FileNotFoundError` where there is none."""
    return (QUERIES / f"{name}.sql").read_text(encoding="utf-8")


@cache
def query_of_errors(name: str) -> str:
    """Return the text of the same query for errors alone: said so, a plan that is kept reads them from their index."""
    return query(name).replace("NOT %(errors)s::boolean OR ", "")
