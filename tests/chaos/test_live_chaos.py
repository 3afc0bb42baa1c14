"""The live view over minutes: flows killed, webs restarted, clients wandering."""

import random
import threading
import time

from tests.ingestion import Ingest, payload
from tests.nginx import StartNginx
from tests.servers import StreamHandle
from tests.wandering import UID, wander
from tests.webserver import StartWeb

SECONDS = 60.0


def test_wanderers_see_everything_once_whatever_ends_and_begins_again(
    start_web: StartWeb, start_nginx: StartNginx, ingest: Ingest, stream: StreamHandle
) -> None:
    """A flow stores what is published, beside three other writers; two webs behind one address end in turns."""
    webs = [start_web(DATABASE_URL=ingest.database, NATS_URL=stream.url) for _ in range(2)]
    nginx = start_nginx(*webs)
    seed = random.Random(9)

    def publish() -> None:
        for number in range(int(SECONDS * 20)):
            stream.publish(f"workflow.agents.{UID}.{UID}.agent.executor.message", payload(number))
            time.sleep(0.05)

    def disturb() -> None:
        publishing = threading.Thread(target=publish)
        publishing.start()
        for turn in range(6):
            time.sleep(SECONDS / 8 * seed.uniform(0.5, 1.0))
            web = webs[turn % 2]
            # Killed, or told to end.
            (web.kill if turn % 3 == 0 else web.stop)()
            web.start()
        publishing.join()
        ingest.wait_until_drained()

    stream.set_ack_wait(2)
    assert wander(nginx.url, ingest.database, SECONDS, disturb) > SECONDS * 20  # what was published alone
