import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.connection import NatsOptions
from connectors.puback import PubAck, PublishError
from connectors.publisher import Publisher
from flows.spelling import Claim
from tests.servers import NatsServer, StreamHandle, fresh_stream
from tests.waiting import wait_until
from web.sample import Line, Sample, Story

# All of it is due by the time the sample begins, and so is the next run.
SHORT = Story("short", [Line("planner", timedelta(seconds=n), Claim(content=f"word {n}")) for n in range(3)])
# Its second half is not.
LONG = Story("long", [Line("planner", timedelta(minutes=n), Claim(content=f"word {n}")) for n in range(9)])


class Impatient(Publisher):
    """Gives a message up soon, and counts how often it did."""

    given_up = 0

    def publish(
        self, subject: str, payload: bytes, *, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PubAck:
        try:
            return super().publish(subject, payload, message_id=message_id, headers=headers)
        except PublishError:
            self.given_up += 1
            raise


@contextmanager
def playing(url: str, story: Story, memory: Path | None = None) -> Iterator[Impatient]:
    stop = threading.Event()
    with Impatient(NatsOptions((url,)), patience=0.5) as publisher:
        thread = threading.Thread(target=Sample(publisher, "workflow", [story], memory).play, args=(stop.is_set,))
        thread.start()
        try:
            yield publisher
        finally:
            stop.set()
            thread.join()


def said(stream: StreamHandle) -> list[dict[str, Any]]:
    get = stream.connection.jetstream().get_msg
    last = stream.info().state.last_seq
    return [json.loads(stream.connection.run(get(stream.name, n)).data or b"") for n in range(1, last + 1)]


def test_a_run_that_is_over_is_followed_by_another_one(stream: StreamHandle) -> None:
    with playing(stream.url, SHORT):
        wait_until(lambda: stream.info().state.messages >= 4, "the next run's first word")
    messages = said(stream)
    assert [message["content"] for message in messages[:4]] == ["word 0", "word 1", "word 2", "word 0"]
    for identity in ("workflow_uid", "workflow_name"):
        assert len({message[identity] for message in messages[:3]}) == 1
        assert messages[3][identity] != messages[0][identity]
    assert messages[0]["workflow_name"].startswith("short-")


def test_what_was_said_before_a_crash_is_said_again_under_its_own_id(stream: StreamHandle, tmp_path: Path) -> None:
    memory = tmp_path / "sample.json"
    with playing(stream.url, LONG, memory):
        wait_until(lambda: stream.info().state.messages == 2, "what is due")
    (run,) = json.loads(memory.read_text())
    assert run["place"] == 2
    # Killed after the second word was published, and before it was noted.
    memory.write_text(json.dumps([{**run, "place": 1}]))
    with playing(stream.url, LONG, memory):
        wait_until(lambda: stream.info().state.messages == 3, "the second word once more")
    messages = said(stream)
    assert messages[1]["message_id"] == messages[2]["message_id"] != messages[0]["message_id"]
    assert len({message["workflow_uid"] for message in messages}) == 1


@pytest.mark.parametrize("written", ["", "[]", "{", '[{"story": "another"}]'])
def test_a_memory_that_makes_no_sense_is_no_obstacle(stream: StreamHandle, tmp_path: Path, written: str) -> None:
    memory = tmp_path / "sample.json"
    memory.write_text(written)
    with playing(stream.url, LONG, memory):
        wait_until(lambda: stream.info().state.messages == 2, "what is due")


def test_it_goes_on_when_nats_is_back_after_it_gave_up(own_nats_server: NatsServer) -> None:
    with fresh_stream(own_nats_server) as stream, playing(own_nats_server.url, SHORT) as publisher:
        wait_until(lambda: stream.info().state.messages >= 3, "the first run")
        own_nats_server.stop()
        wait_until(lambda: publisher.given_up > 0, "the sample to have given up")
        own_nats_server.start()
        stream.wait_until_reached()
        wait_until(lambda: stream.info().state.messages >= 5, "more words")
        contents = [message["content"] for message in said(stream)]
    assert contents[:5] == ["word 0", "word 1", "word 2", "word 0", "word 1"]
