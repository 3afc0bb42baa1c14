"""A NATS server with the accounts of gitops/nats, and clients that are one of its users, or nobody."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from connectors import authority, nkey
from connectors.bootstrap import bootstrap
from connectors.connection import NatsConnection, NatsOptions, NatsUnavailable
from connectors.delivery import JetStreamMessage
from connectors.embedded import EmbeddedNats, NatsSecurity
from connectors.loopback import HOST
from connectors.private import write_private
from connectors.puback import PubAck, PublishError
from connectors.publisher import Publisher
from connectors.pull import Puller
from flows import topology
from flows.nats import nats_options
from flows.settings import Settings
from flows.users import AGENTS, JANGAR, SYSTEM, USERS, WEB, User
from tests.waiting import wait_until

STREAM, DURABLE = "agent-comms", "jangar-agent-comms"
NEXT = f"JS.comms.API.CONSUMER.MSG.NEXT.{STREAM}.{DURABLE}"
INFO = f"JS.comms.API.CONSUMER.INFO.{STREAM}.{DURABLE}"
RUN = "workflow.agents.run.uid-1.agent.planner.message"
PERSON = "workflow.agents.run.uid-1.agent.person.message"
FLUSH_S = 60


class Ring:
    """The seeds of all users, those in use and those that come next, and a server's certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.seeds = {user.name: (nkey.new_seed(), nkey.new_seed()) for user in USERS}
        self.certificate = authority.issue(folder / "tls", [HOST])
        for user in USERS:
            self.hand_out(user)

    def seed_file(self, user: User) -> Path:
        """What the user's programs have mounted."""
        return self.folder / f"{user.name}.nk"

    def hand_out(self, user: User, *, following: bool = False) -> None:
        write_private(self.seed_file(user), self.seeds[user.name][following])

    def move_on(self, user: User) -> None:
        """The next key is the one in use from now on; the one before is nobody's."""
        _, following = self.seeds[user.name]
        self.seeds[user.name] = (following, nkey.new_seed())

    @property
    def ca_file(self) -> Path:
        """The authorities that clients trust; not the folder's own file, which is exchanged with the certificate."""
        path = self.folder / "trusted.crt"
        if not path.exists():
            write_private(path, self.certificate.ca.read_bytes())
        return path

    def security(self) -> NatsSecurity:
        lines = [
            f"{variable}: {nkey.public_key(seed)}"
            for user in USERS
            for variable, seed in zip(user.key_variables, self.seeds[user.name], strict=True)
        ]
        return NatsSecurity(topology.ACCOUNTS, "\n".join(lines) + "\n", self.certificate.cert, self.certificate.key)


class Secured:
    """A running server and its ring."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.ring = Ring(folder / "ring")
        self.server = EmbeddedNats(folder / "nats", settings=settings, security=self.ring.security())

    def __enter__(self) -> Self:
        self.server.start()
        with NatsConnection(self.options(SYSTEM)) as connection:
            assert connection.run(bootstrap(connection.jetstream(), topology.manifests())) == []
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def options(self, user: User, *, patient: bool = False) -> NatsOptions:
        """As a program of this user has them of its environment; `patient` as in `nats_options`."""
        environ = {
            "NATS_URL": self.server.url,
            "NATS_NKEY_SEED_FILE": str(self.ring.seed_file(user)),
            "NATS_CA_FILE": str(self.ring.ca_file),
            **user.settings(),
        }
        return nats_options(Settings.from_env(environ), f"test-{user.name}", patient=patient)

    def options_of(self, user: User, seed: str, place: Path) -> NatsOptions:
        """As somebody has them who has kept a seed."""
        write_private(place, seed)
        return replace(self.options(user), nkey_seed_file=place)

    def reload(self) -> None:
        self.server.security = self.ring.security()
        self.server.reload()


class Client:
    """A connection that keeps what the server complains of."""

    def __init__(self, options: NatsOptions) -> None:
        self.complaints: list[str] = []
        self.heard: list[str] = []
        self.connection = NatsConnection(options, on_error=lambda error: self.complaints.append(str(error)))

    def __enter__(self) -> Self:
        self.connection.connect(wait=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def run(self, ask: Awaitable[Any]) -> Any:
        async def asked() -> Any:
            return await ask

        return self.connection.run(asked(), FLUSH_S)

    def _is_refused(self, do: Callable[[], Awaitable[Any]]) -> bool:
        """Whether the server complains of what is done; it has answered by then."""
        before = len(self.complaints)

        async def done() -> None:
            await do()
            # Twice, since the client's first ping overtakes what has not been written yet.
            await self.connection.client.flush(FLUSH_S)
            await self.connection.client.flush(FLUSH_S)

        self.run(done())
        return any("permissions violation" in complaint.lower() for complaint in self.complaints[before:])

    def may_not_publish(self, subject: str, payload: bytes = b"", reply: str = "") -> bool:
        return self._is_refused(lambda: self.connection.client.publish(subject, payload, reply=reply))

    def may_not_listen(self, subject: str, queue: str = "") -> bool:
        async def hear(message: Any) -> None:
            self.heard.append(message.subject)

        return self._is_refused(lambda: self.connection.client.subscribe(subject, queue=queue, cb=hear))

    def request(self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None) -> Any:
        """Ask as one of this user does, and return the JSON that comes back."""
        message = self.run(self.connection.client.request(subject, payload, timeout=FLUSH_S, headers=headers))
        return json.loads(message.data)


def gets_in(options: NatsOptions) -> bool:
    """Whether the server lets somebody in; who is told nothing in a client's short time asks again."""
    told: list[bool] = []

    def is_told() -> bool:
        try:
            with Client(options):
                told.append(True)
        except NatsUnavailable as error:
            if "timeout" not in str(error).lower():
                told.append(False)
        return bool(told)

    wait_until(is_told, "a word of the server")
    return told[0]


class Look:
    """What the controller sees of stream and consumer."""

    def __init__(self, secured: Secured) -> None:
        self._client = Client(secured.options(SYSTEM))

    def __enter__(self) -> Self:
        self._client.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.__exit__()

    def subjects(self) -> dict[str, int]:
        """How many messages the stream has on each subject."""
        answer = self._client.request(f"$JS.API.STREAM.INFO.{STREAM}", b'{"subjects_filter": ">"}')
        return answer["state"].get("subjects") or {}

    def stream(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.request(f"$JS.API.STREAM.INFO.{STREAM}")
        return answer

    def consumer(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.request(f"$JS.API.CONSUMER.INFO.{STREAM}.{DURABLE}")
        return answer

    @property
    def left(self) -> int:
        """How many messages are not acked yet."""
        consumer = self.consumer()
        return int(consumer["num_pending"]) + int(consumer["num_ack_pending"])


@contextmanager
def clients(secured: Secured, users: Sequence[User] = USERS) -> Iterator[dict[str, Client]]:
    opened: dict[str, Client] = {}
    try:
        for user in users:
            opened[user.name] = Client(secured.options(user)).__enter__()
        yield opened
    finally:
        for client in opened.values():
            client.__exit__()


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    """A server of one's own, with the stream and its consumer."""
    with Secured(tmp_path) as running:
        yield running


class Talk:
    """Somebody who publishes as `agents` all the while."""

    def __init__(self, secured: Secured) -> None:
        self.acked: list[int] = []
        self.failed: list[PublishError] = []
        self._publisher = Publisher(secured.options(AGENTS), patience=60)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)

    def __enter__(self) -> Self:
        self._publisher.connect()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
        self._publisher.close(flush=False)

    def _talk(self) -> None:
        number = 0
        while not self._stop.wait(0.005):
            payload = json.dumps({"message_id": f"said-{number}", "content": str(number)}).encode()
            self._publisher.publish_soon(RUN, payload, message_id=f"said-{number}").add_done_callback(
                partial(self._note, number)
            )
            number += 1

    def _note(self, number: int, done: "Future[PubAck]") -> None:
        error = done.exception()
        if error is None:
            self.acked.append(number)
        else:
            assert isinstance(error, PublishError)
            self.failed.append(error)

    def finish(self) -> None:
        """Say no more, and wait until what was said is acknowledged."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self._publisher.flush()

    def assert_all_acknowledged(self) -> None:
        self.finish()
        assert self.failed == []
        assert sorted(self.acked) == list(range(len(self.acked)))


class Traffic(Talk):
    """The legitimate path: somebody who talks, and somebody who takes and acks as `jangar`."""

    def __init__(self, secured: Secured) -> None:
        super().__init__(secured)
        self.taken: list[int] = []
        self._reader = NatsConnection(secured.options(JANGAR), on_reconnect=self._resume)
        self._puller = Puller(self._reader, STREAM, DURABLE, self._take, lambda: True)

    def __enter__(self) -> Self:
        self._reader.connect(wait=False)
        self._reader.run(self._puller.start(), FLUSH_S)
        super().__enter__()
        wait_until(lambda: self.taken, "the first message")
        return self

    def __exit__(self, *wrong: object) -> None:
        super().__exit__(*wrong)
        self._reader.run(self._puller.stop())
        self._reader.close()

    def _take(self, messages: list[JetStreamMessage]) -> None:
        for message in messages:
            if message.data.startswith(b'{"message_id": "said-'):
                self.taken.append(int(json.loads(message.data)["content"]))
        replies = [message.reply for message in messages]
        asyncio.get_running_loop().create_task(self._reader.client.publish_each(replies, b"+ACK"))

    async def _resume(self) -> None:
        await self._puller.restart()

    def go_on(self) -> None:
        """Wait until something that is said from now on has arrived."""
        latest = max(self.acked, default=0)
        wait_until(lambda: any(number > latest for number in self.taken[-200:]), "the path to go on")

    def assert_whole(self) -> None:
        """Everything was acknowledged once and has arrived."""
        self.assert_all_acknowledged()
        wait_until(lambda: set(self.taken) >= set(self.acked), "everything to arrive")


__all__ = ["AGENTS", "JANGAR", "SYSTEM", "WEB", "Client", "Look", "Ring", "Secured", "Talk", "Traffic", "clients"]
