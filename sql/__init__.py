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
