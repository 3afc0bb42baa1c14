"""A publisher at a steady rate, in a process of its own: what it does must not hold up who measures.

    python -m tests.bench.pacer URL RUN RATE NUMBER

Each message's content is its number and the moment of its publishing, nanoseconds since the Unix epoch.
"""

import asyncio
import json
import subprocess
import sys
import time

import nats

from tests.ingestion import ROOT


def publish_steadily(url: str, run: str, rate: float, number: int) -> "subprocess.Popen[bytes]":
    """Start publishing into a run; the process ends once the server has everything."""
    words = [sys.executable, "-m", "tests.bench.pacer", url, run, str(rate), str(number)]
    return subprocess.Popen(words, cwd=ROOT)


def read_content(content: str) -> tuple[int, int]:
    """Return the number of a message and when it was published, nanoseconds."""
    number, _, published = content.partition(" ")
    return int(number), int(published)


async def _publish(url: str, run: str, rate: float, number: int) -> None:
    client = await nats.connect(url)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for index in range(number):
        await asyncio.sleep(max(0.0, began + index / rate - loop.time()))
        now = time.time_ns()
        payload = json.dumps({"message_id": f"{index}-{now}", "content": f"{index} {now}"}).encode()
        await client.publish(f"workflow.agents.{run}.uid-{run}.agent.executor.message", payload)
    await client.drain()


if __name__ == "__main__":
    asyncio.run(_publish(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
