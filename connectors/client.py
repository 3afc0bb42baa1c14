"""nats-py's client, made safe against what others send, and quick.

Where TLS is asked for, nothing goes out without it. nats-py decodes subjects and headers
strictly, and a UnicodeDecodeError there ends its read loop: one message with a stray byte
in its subject would stop a reader for good, at each redelivery anew. It also hands each
message through a queue and a task, which costs more than everything else on the way to a
dataflow.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from nats.aio.client import Client, Srv
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

# Called on the loop with subject, reply, payload and header block; must neither block nor raise.
RawCallback: TypeAlias = Callable[[str, str, bytes, bytes], None]


class TolerantClient(Client):
    """A client that any byte may be sent to."""

    def __init__(self) -> None:
        super().__init__()
        self._raw: dict[int, RawCallback] = {}

    async def subscribe_raw(self, subject: str, callback: RawCallback) -> Subscription:
        """Subscribe with a plain function that is called from the read loop, in the order of arrival.

        After `drain()` everything that the server has sent has been handed over.
        """
        subscription = await self.subscribe(subject, cb=_never)
        self._raw[subscription._id] = callback  # noqa: SLF001 - the server's number of it has no public name
        return subscription

    async def publish_each(self, subjects: Sequence[str], payload: bytes) -> None:
        """Publish one payload on many subjects as one write.

        Args:
            subjects: as a server sent them (reply subjects); they are not checked again.
            payload: short, the same for all.
        """
        tail = b" %d\r\n%s\r\n" % (len(payload), payload)
        await self._send_command(b"".join([b"PUB " + subject.encode() + tail for subject in subjects]))
        await self._flush_pending()

    async def _connect_to_server(self, s: Srv) -> None:
        if self._transport:
            # A server that refuses us is tried again, and the last try's socket would be forgotten.
            self._transport.close()  # type: ignore[no-untyped-call]
        await super()._connect_to_server(s)

    def _connect_command(self) -> bytes:
        # nats-py sends its credentials in the clear to a server that doesn't ask for TLS,
        # which is what somebody between us and the server would have it say.
        scheme = self._current_server.uri.scheme if self._current_server else ""
        wanted = scheme == "tls" or ("tls" in self.options and scheme not in ("ws", "wss"))
        if wanted and not self._server_info.get("tls_required"):
            message = "the server offers no TLS; nothing was sent"
            raise NatsError(message)
        return super()._connect_command()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        callback = self._raw.get(sid)
        if callback is None:
            await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[arg-type]
        else:
            callback(_text(subject), _text(reply), data, headers or b"")

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except ValueError:
            return parse_headers(headers or b"")

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        return self.msg_class(
            subject=_text(subject), reply=_text(reply), data=data, headers=headers, _client=self, _sid=sid
        )

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        super()._remove_sub(sid, max_msgs)
        self._raw.pop(sid, None)


def parse_headers(block: bytes) -> dict[str, str]:
    """Read a header block (`NATS/1.0 …`); of an inline status, the number and the words get names.

    What is no header is left out; of a name that comes twice the last value is kept.
    """
    first, *lines = block.split(b"\r\n")
    headers = {}
    status = first.removeprefix(b"NATS/1.0").strip()
    if status:
        number, _, words = status.partition(b" ")
        headers = {"Status": _text(number), "Description": _text(words.strip())}
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon and name.strip():
            headers[_text(name.strip())] = _text(value.strip())
    return headers


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


async def _never(message: Any) -> None:
    message = f"a raw subscription was handed {message!r}"
    raise AssertionError(message)
