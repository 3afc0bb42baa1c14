"""`agent-comms backfill` as a process that a test may stop and kill."""

import os
import random
import subprocess
import sys
from pathlib import Path

import psycopg

from tests.artifacts import Stored
from tests.ingestion import ROOT
from tests.waiting import wait_until


def command(root: Path | str, *more: str) -> list[str]:
    return [sys.executable, "-m", "web.cli", "backfill", str(root), *more]


def start(database: str, root: Path | str, *more: str, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(root, *more),
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(database: str, root: Path | str, *more: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    process = start(database, root, *more, **environ)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


_GATE = """
    CREATE TABLE gate AS SELECT true AS is_shut;
    CREATE TABLE passed (transaction xid8 PRIMARY KEY);
    CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NOT EXISTS (SELECT FROM passed WHERE transaction = pg_current_xact_id()) THEN
            WHILE EXISTS (SELECT FROM gate) AND EXISTS (SELECT FROM passed) LOOP PERFORM pg_sleep(0.02); END LOOP;
            INSERT INTO passed VALUES (pg_current_xact_id());
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER gate BEFORE INSERT ON workflow_comms.agent_messages
        FOR EACH STATEMENT EXECUTE FUNCTION wait_at_gate();
"""


def shut_gate(database: str) -> None:
    """Let one transaction store messages, and no other one until the gate is opened."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(_GATE)


def open_gate(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM gate")


def kill_in_the_midst(process: "subprocess.Popen[str]", stored: Stored, rows: int) -> bool:
    """Kill it, once so many rows are stored; returns whether it was still at it."""
    wait_until(lambda: stored.count() >= rows or process.poll() is not None, f"{rows} rows")
    process.kill()
    process.communicate()
    return process.returncode != 0


def moments(chance: random.Random, upto: int, number: int) -> list[int]:
    """Some numbers of rows, in their order."""
    return sorted(chance.sample(range(1, upto), number))
