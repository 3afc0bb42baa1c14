"""Every credential is exchanged in turn under the real flow and whoever speaks, and each message is one row."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from connectors import authority
from connectors.connection import NatsUnavailable
from connectors.loopback import HOST
from connectors.private import write_private
from connectors.puback import NoAnswer
from flows.users import JANGAR, USERS, WEB
from tests.secured import PERSON, Look, Secured, Talk
from tests.waiting import wait_until
from web.link import Link

ROOT = Path(__file__).parents[2]


@contextmanager
def flow(secured: Secured, database: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    options = secured.options(JANGAR)
    environ = {
        **os.environ,
        "NATS_URL": secured.server.url,
        "NATS_NKEY_SEED_FILE": str(options.nkey_seed_file),
        "NATS_CA_FILE": str(options.ca_file),
        **JANGAR.settings(),
        "DATABASE_URL": database,
        "AGENT_COMMS_METRICS_PORT": "0",
    }
    with log.open("ab") as said:
        words = [sys.executable, "-m", "bytewax.run", "flows.ingest"]
        process = subprocess.Popen(words, cwd=ROOT, env=environ, stdout=said, stderr=said)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def count(database: str, what: str) -> int:
    with psycopg.connect(database) as connection:
        row = connection.execute(f"SELECT count(*) FROM workflow_comms.{what}".encode()).fetchone()
    return int(row[0]) if row else 0


def test_each_message_is_one_row_whatever_is_exchanged_meanwhile(
    secured: Secured, database: str, tmp_path: Path
) -> None:
    ring = secured.ring
    link = Link(secured.options(WEB))
    link.start()
    spoken = 0

    def speak() -> bool:
        try:
            link.publish(PERSON, b'{"message_id": "p-%d", "content": "a person"}' % spoken, f"p-{spoken}")
        except (NatsUnavailable, NoAnswer):
            # The server has just ended the connection; who speaks is told so, and sends it once more.
            return False
        return True

    def go_on() -> None:
        """A person speaks, and it is stored, and so is what the agents say."""
        nonlocal spoken
        wait_until(speak, "the pages to be connected, and what a person says to be taken")
        spoken += 1
        before = count(database, "agent_messages")
        wait_until(lambda: count(database, "agent_messages") > before + 20, "more rows")

    with ExitStack() as stack:
        flows = [stack.enter_context(flow(secured, database, tmp_path / f"flow-{n}.log")) for n in range(2)]
        talk = stack.enter_context(Talk(secured))
        go_on()
        for user in USERS:
            ring.hand_out(user, following=True)
            ring.move_on(user)
            secured.reload()
            go_on()
        flows[0].send_signal(signal.SIGKILL)
        ring.certificate = authority.issue(ring.folder / "renewed", [HOST])
        write_private(ring.ca_file, ring.ca_file.read_bytes() + ring.certificate.ca.read_bytes())
        secured.reload()
        go_on()
        # The old authority is trusted no more, and the server starts anew.
        write_private(ring.ca_file, ring.certificate.ca.read_bytes())
        secured.server.restart()
        go_on()
        talk.assert_all_acknowledged()
        with Look(secured) as look:
            wait_until(lambda: look.left == 0, "everything to be acked", patience=100)
            assert look.stream()["state"]["messages"] == len(talk.acked) + spoken
    link.close()
    assert count(database, "agent_messages") == len(talk.acked) + spoken
    assert count(database, "dead_letters") == 0
