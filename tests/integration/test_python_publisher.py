"""The API for runtimes written in Python."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from connectors.embedded import EmbeddedNats
from flows.payload import PayloadError, schema
from flows.publisher import Publisher
from flows.settings import SettingError, Settings
from tests.integration.test_follow import NOWHERE, messages
from tests.servers import StreamHandle, fresh_stream
from tests.waiting import wait_until

TOOL = {"name": "shell", "input": {"command": "ls"}, "status": "in_progress"}


@pytest.fixture
def settings(stream: StreamHandle, tmp_path: Path) -> Settings:
    return made(stream.url, tmp_path)


def made(url: str, folder: Path, **changes: str) -> Settings:
    environ = {"NATS_URL": url, "WORKFLOW_NAME": "run-1", "AGENT_ID": "planner", "AGENT_COMMS_SPOOL_DIR": str(folder)}
    return Settings.from_env({**environ, **changes})


@pytest.fixture(autouse=True)
def one_line_each(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever is logged is one line, and no traceback."""
    yield
    for record in caplog.get_records("call"):
        assert "\n" not in record.getMessage()
        assert record.exc_info is None


def test_what_is_said_is_in_the_stream_in_order(settings: Settings, stream: StreamHandle) -> None:
    with Publisher(settings) as publisher:
        ids = [publisher.publish(f"message {number}") for number in range(3000)]
        ids += [publisher.publish("$ ls", kind="tool_call", tool=TOOL), publisher.publish("hello all", general=True)]
    assert (publisher.published, publisher.waiting, publisher.left) == (3002, 0, 0)
    found = messages(stream)
    assert [payload["message_id"] for payload in found] == ids
    assert found[0]["subject"] == "workflow.agents.run-1.run-1.agent.planner.message"
    assert (found[-2]["role"], found[-2]["tool"]) == ("tool", TOOL)
    assert found[-1]["subject"] == "workflow.general.message"
    for payload in found[-3:]:
        del payload["subject"]
        Draft202012Validator(schema()).validate(payload)


def test_a_message_is_on_its_way_at_once(settings: Settings, stream: StreamHandle) -> None:
    with Publisher(settings) as publisher:
        publisher.publish("one")
        wait_until(lambda: len(messages(stream)) == 1, "the first message")
        assert publisher.flush()
        publisher.publish("two")
        wait_until(lambda: len(messages(stream)) == 2, "the second")


def test_nobody_waits_for_a_nats_that_is_away_and_the_next_publisher_sends(
    stream: StreamHandle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    with Publisher(made(NOWHERE, tmp_path), grace=0) as publisher:
        for number in range(500):
            publisher.publish(f"message {number}")
        assert not publisher.flush(0.05)
        # Each on its own would have waited for a connection.
        assert time.monotonic() - began < 60
        wait_until(lambda: any("Connect call failed" in record.getMessage() for record in caplog.records), "word of it")
    assert (publisher.published, publisher.waiting) == (0, 500)
    with Publisher(made(stream.url, tmp_path)) as later:
        assert later.flush()
    assert [payload["content"] for payload in messages(stream)] == [f"message {number}" for number in range(500)]


def test_a_restart_of_nats_costs_nothing(own_nats_server: EmbeddedNats, tmp_path: Path) -> None:
    with (
        fresh_stream(own_nats_server) as stream,
        Publisher(made(own_nats_server.url, tmp_path), grace=60) as publisher,
    ):
        for number in range(3000):
            publisher.publish(f"message {number}")
            if number in (1000, 2000):
                own_nats_server.restart()
        assert publisher.flush(60)
        assert [payload["content"] for payload in messages(stream)] == [f"message {n}" for n in range(3000)]


def test_a_killed_process_loses_nothing(stream: StreamHandle, tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from flows.publisher import Publisher\n"
        "publisher = Publisher().start()\n"
        "for number in range(1000): publisher.publish(f'message {number}')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environ = {"NATS_URL": stream.url, "WORKFLOW_NAME": "run-1", "AGENT_ID": "planner"}
    environ["AGENT_COMMS_SPOOL_DIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -9
    with Publisher(made(stream.url, tmp_path)) as publisher:
        assert publisher.flush()
    contents = [payload["content"] for payload in messages(stream)]
    assert list(dict.fromkeys(contents)) == [f"message {number}" for number in range(1000)]
    ids = {payload["content"]: payload["message_id"] for payload in messages(stream)}
    assert all(payload["message_id"] == ids[payload["content"]] for payload in messages(stream))


def test_a_full_spool_is_told_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Publisher(made(NOWHERE, tmp_path, AGENT_COMMS_SPOOL_BYTES="10000"), grace=0) as publisher:
        for _ in range(100):
            publisher.publish("x" * 1000)
        assert publisher.waiting + publisher.left == 100
        assert publisher.left > 80
    assert len([record for record in caplog.records if "the spool is full" in record.getMessage()]) == 1


def test_what_is_too_large_is_cut(settings: Settings, stream: StreamHandle) -> None:
    with Publisher(settings) as publisher:
        publisher.publish("y" * 3_000_000, attrs={"branch": "main"})
    [payload] = messages(stream)
    assert payload["content"].endswith("\n… [cut: 3,000,000 bytes in all]")
    assert payload["attrs"]["branch"] == "main"
    assert 1_000_000 < len(payload["content"]) < 1_048_576


def test_a_server_that_takes_less_gets_less(tmp_path: Path) -> None:
    class Small(EmbeddedNats):
        def prepare(self) -> None:
            super().prepare()
            file = self.folder / "nats.conf"
            file.write_text(file.read_text().replace("max_payload: 8388608", "max_payload: 65536"))

    with Small(tmp_path / "nats") as server, fresh_stream(server) as stream:
        with Publisher(made(server.url, tmp_path / "spool")) as publisher:
            publisher.publish("z" * 500_000)
            publisher.publish("after it")
            assert publisher.flush()
        first, second = messages(stream)
    assert first["content"].endswith("\n… [cut: 500,000 bytes in all]")
    assert 60_000 < len(first["content"]) < 65_536
    assert second["content"] == "after it"


def test_what_a_reader_could_make_nothing_of_is_refused(settings: Settings) -> None:
    with Publisher(settings) as publisher:
        for wrong in (" ", "\0" * 0):
            with pytest.raises(PayloadError, match="there is no content"):
                publisher.publish(wrong)
        with pytest.raises(PayloadError, match="nested"):
            publisher.publish("x", attrs={"a": deep()})


def deep() -> object:
    value: object = []
    for _ in range(500):
        value = [value]
    return value


def test_without_a_workflow_there_is_no_publisher(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="WORKFLOW_UID or WORKFLOW_NAME"):
        Publisher(made(NOWHERE, tmp_path, WORKFLOW_NAME=""))


def test_two_publishers_of_one_agent_are_in_nobodys_way(settings: Settings, stream: StreamHandle) -> None:
    with Publisher(settings) as first, Publisher(settings) as second:
        first.publish("one")
        second.publish("two")
    assert {payload["content"] for payload in messages(stream)} == {"one", "two"}
