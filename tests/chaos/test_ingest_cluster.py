"""Bytewax' own way to run one flow as several processes."""

from connectors.loopback import HOST, free_port
from tests.ingestion import Start, publish_many, settles_whole
from tests.servers import StreamHandle


def test_a_cluster_of_two_processes_stores_each_message_once_and_survives_the_death_of_one(
    start: Start, stream: StreamHandle
) -> None:
    stream.set_ack_wait(1)
    addresses = ";".join(f"{HOST}:{free_port()}" for _ in range(2))
    first, second = (start("-i", str(number), "-a", addresses) for number in range(2))
    publish_many(stream, range(20_000))
    first.wait_for_rows(10_000)
    second.kill()
    # One alone can't go on, and says so by its end: whoever runs them starts both again.
    assert first.process.wait(timeout=30) != 0
    first.start()
    second.start()
    settles_whole(first, 20_000)
    first.ask_to_stop()
    second.ask_to_stop()
    assert [flow.process.wait(timeout=30) for flow in (first, second)] == [0, 0]
