from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from nats.js.api import ConsumerConfig, StreamConfig

from connectors.bootstrap import Difference, bootstrap
from connectors.connection import NatsConnection, NatsOptions
from connectors.duration import Seconds
from connectors.embedded import EmbeddedNats
from connectors.nack import ConsumerManifest, Manifest, NackError, StreamManifest
from flows import topology
from tests.waiting import PATIENCE_S

# All that it takes to create, check and update these two, and nothing else.
CAREFUL = """
authorization {
  users: [{
    user: system
    password: pw
    permissions: {
      publish: [
        "$JS.API.STREAM.INFO.agent-comms", "$JS.API.STREAM.CREATE.agent-comms", "$JS.API.STREAM.UPDATE.agent-comms"
        "$JS.API.CONSUMER.INFO.agent-comms.jangar-agent-comms"
        "$JS.API.CONSUMER.CREATE.agent-comms.jangar-agent-comms"
      ]
      subscribe: ["_INBOX_system.>"]
    }
  }]
}
"""
STREAM = "agent-comms"
CONSUMER = "jangar-agent-comms"


@pytest.fixture
def connection(own_nats_server: EmbeddedNats) -> Iterator[NatsConnection]:
    with NatsConnection(NatsOptions((own_nats_server.url,))) as connection:
        yield connection


def apply(
    connection: NatsConnection, manifests: list[Manifest] | None = None, *, update: bool = False
) -> tuple[list[Difference], list[str]]:
    notes: list[str] = []
    work = bootstrap(connection.jetstream(), manifests or topology.manifests(), update=update, note=notes.append)
    return connection.run(work), notes


def stream_config(connection: NatsConnection) -> StreamConfig:
    return connection.run(connection.jetstream().stream_info(STREAM)).config


def consumer_config(connection: NatsConnection) -> ConsumerConfig:
    config: ConsumerConfig = connection.run(connection.jetstream().consumer_info(STREAM, CONSUMER)).config
    return config


def changed(*, stream: dict[str, object] | None = None, consumer: dict[str, object] | None = None) -> list[Manifest]:
    first, second = topology.stream(), topology.consumer()
    return [
        StreamManifest(
            api_version=first.api_version, metadata={}, spec=msgspec.structs.replace(first.spec, **stream or {})
        ),
        ConsumerManifest(
            api_version=second.api_version, metadata={}, spec=msgspec.structs.replace(second.spec, **consumer or {})
        ),
    ]


def test_a_lone_server_gets_all_of_the_manifests_but_the_replicas(connection: NatsConnection) -> None:
    left, notes = apply(connection)
    assert left == []
    assert notes == [
        "stream agent-comms: 1 replica instead of 3, since this is a lone server",
        "stream agent-comms: created",
        "consumer jangar-agent-comms: created",
    ]
    stream, consumer = stream_config(connection), consumer_config(connection)
    assert (stream.subjects, stream.storage, stream.retention) == (["workflow.>"], "file", "limits")
    assert (stream.max_age, stream.max_bytes, stream.duplicate_window) == (604_800, 10 * 2**30, 600)
    assert (stream.num_replicas, stream.deny_delete, stream.deny_purge) == (1, True, True)
    assert (consumer.deliver_policy, consumer.ack_policy, consumer.ack_wait) == ("all", "explicit", 30)
    assert (consumer.max_ack_pending, consumer.max_deliver, consumer.filter_subject) == (20_000, -1, None)


def test_twice_is_as_good_as_once(connection: NatsConnection) -> None:
    apply(connection)
    before = stream_config(connection), consumer_config(connection)
    left, notes = apply(connection)
    assert left == []
    assert notes[1:] == [
        "stream agent-comms: is as its manifest says",
        "consumer jangar-agent-comms: is as its manifest says",
    ]
    assert (stream_config(connection), consumer_config(connection)) == before


def test_a_deleted_consumer_is_created_again(connection: NatsConnection) -> None:
    apply(connection)
    connection.run(connection.jetstream().delete_consumer(STREAM, CONSUMER))
    assert "consumer jangar-agent-comms: created" in apply(connection)[1]
    assert consumer_config(connection).ack_wait == 30


def test_each_differing_field_is_named_and_nothing_is_changed(connection: NatsConnection) -> None:
    apply(connection)
    left, notes = apply(
        connection,
        changed(
            stream={"max_age": Seconds(3600), "subjects": ["workflow.>", "argo.workflow.>"]},
            consumer={"ack_wait": Seconds(90), "deliver_policy": "new"},
        ),
    )
    assert [str(difference) for difference in left] == notes[1:]
    assert notes[1:] == [
        "stream agent-comms: subjects: workflow.>, argo.workflow.> in the manifest, workflow.> on the server",
        "stream agent-comms: maxAge: 1h in the manifest, 168h on the server",
        "consumer jangar-agent-comms: deliverPolicy: new in the manifest, all on the server",
        "consumer jangar-agent-comms: ackWait: 1m30s in the manifest, 30s on the server",
    ]
    assert stream_config(connection).max_age == 604_800
    assert consumer_config(connection).ack_wait == 30


def test_an_update_changes_what_the_server_lets_be_changed(connection: NatsConnection) -> None:
    apply(connection)
    manifests = changed(
        stream={"subjects": ["workflow.>", "argo.workflow.>"], "max_bytes": 5 * 2**30},
        consumer={"ack_wait": Seconds(90), "filter_subject": "workflow.agents.>", "max_ack_pending": 500},
    )
    left, notes = apply(connection, manifests, update=True)
    assert left == []
    assert "stream agent-comms: changed subjects, maxBytes" in notes
    assert "consumer jangar-agent-comms: changed ackWait, filterSubject, maxAckPending" in notes
    assert stream_config(connection).subjects == ["workflow.>", "argo.workflow.>"]
    consumer = consumer_config(connection)
    assert (consumer.ack_wait, consumer.filter_subject, consumer.max_ack_pending) == (90, "workflow.agents.>", 500)


def test_an_update_takes_away_what_the_manifest_no_longer_has(connection: NatsConnection) -> None:
    apply(connection, changed(consumer={"filter_subject": "workflow.agents.>"}))
    left, _ = apply(connection, update=True)
    assert left == []
    assert consumer_config(connection).filter_subject is None


def test_what_the_server_never_changes_is_said_in_one_line_and_the_rest_is_changed(connection: NatsConnection) -> None:
    apply(connection)
    manifests = changed(
        stream={"storage": "memory", "deny_purge": False, "max_age": Seconds(7200)},
        consumer={
            "deliver_policy": "new",
            "ack_policy": "all",
            "replay_policy": "original",
            "max_waiting": 5,
            "ack_wait": Seconds(60),
        },
    )
    left, notes = apply(connection, manifests, update=True)
    assert (
        "stream agent-comms: the server never changes storage, denyPurge of what exists;"
        " it must be deleted and made anew by hand"
    ) in notes
    assert (
        "consumer jangar-agent-comms: the server never changes deliverPolicy, ackPolicy, replayPolicy, maxWaiting"
        " of what exists; it must be deleted and made anew by hand"
    ) in notes
    assert {difference.field for difference in left} == {
        *("storage", "denyPurge"),
        *("deliverPolicy", "ackPolicy", "replayPolicy", "maxWaiting"),
    }
    assert stream_config(connection).max_age == 7200
    assert consumer_config(connection).ack_wait == 60


def test_messages_and_the_place_in_the_stream_survive_an_update(connection: NatsConnection) -> None:
    apply(connection)
    js = connection.jetstream()

    async def read_one_of_two() -> None:
        await js.publish("workflow.a", b"1")
        await js.publish("workflow.a", b"2")
        subscription = await js.pull_subscribe_bind(CONSUMER, STREAM)
        [message] = await subscription.fetch(1, timeout=PATIENCE_S)
        await message.ack_sync()

    connection.run(read_one_of_two())
    apply(connection, changed(stream={"max_age": Seconds(7200)}, consumer={"ack_wait": Seconds(60)}), update=True)
    info = connection.run(js.consumer_info(STREAM, CONSUMER))
    assert connection.run(js.stream_info(STREAM)).state.messages == 2
    assert info.ack_floor is not None
    assert (info.ack_floor.stream_seq, info.num_pending) == (1, 1)


def test_several_at_once_agree(own_nats_server: EmbeddedNats) -> None:
    options = NatsOptions((own_nats_server.url,))
    connections = [NatsConnection(options).connect() for _ in range(6)]
    try:
        under_way = [c.submit(bootstrap(c.jetstream(), topology.manifests())) for c in connections]
        assert [work.result() for work in under_way] == [[]] * len(connections)
        assert apply(connections[0])[0] == []
    finally:
        for connection in connections:
            connection.close()


def test_a_user_who_may_do_nothing_else_can_do_it(tmp_path: Path) -> None:
    with EmbeddedNats(tmp_path, settings=CAREFUL) as server:
        options = NatsOptions((server.url,), user="system", password="pw", inbox_prefix="_INBOX_system")
        with NatsConnection(options) as connection:
            assert apply(connection)[0] == []
            assert apply(connection, changed(consumer={"ack_wait": Seconds(60)}), update=True)[0] == []
            assert apply(connection, changed(stream={"max_age": Seconds(7200)}), update=True)[0] == []
            assert consumer_config(connection).ack_wait == 30


def test_a_stream_that_takes_our_subjects_already_is_one_line(connection: NatsConnection) -> None:
    connection.run(connection.jetstream().add_stream(name="other", subjects=["workflow.>"]))
    with pytest.raises(NackError, match=r"^stream agent-comms: the server refused: subjects overlap"):
        apply(connection)


def test_a_consumer_without_its_stream_is_one_line(connection: NatsConnection) -> None:
    with pytest.raises(NackError, match=r"^consumer jangar-agent-comms: the server refused: stream not found"):
        apply(connection, [topology.consumer()])


def test_asking_for_an_update_of_what_is_missing_creates_it(connection: NatsConnection) -> None:
    left, _ = apply(connection, update=True)
    assert left == []
    assert consumer_config(connection).ack_wait == 30
