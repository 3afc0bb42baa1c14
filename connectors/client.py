"""nats-py's client, made safe against what others send, and quick.

Where TLS is asked for, nothing goes out without it. nats-py decodes subjects and headers
strictly, and a UnicodeDecodeError there ends its read loop: one message with a stray byte
in its subject would stop a reader for good, at each redelivery anew. It also hands each
message through a queue and a task, and reads the wire by a row of regular expressions, which
together costs more than everything else on the way to a dataflow.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from nats.aio.client import Client, Srv
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import Transport
from nats.errors import Error as NatsError
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from connectors.headers import parse_headers

# Subject, reply, payload and header block.
RawMessage: TypeAlias = tuple[str, str, bytes, bytes]
# Called on the loop with what has come at once; must neither block nor raise.
RawCallback: TypeAlias = Callable[[Sequence[RawMessage]], None]

# What is read at once. nats-py's 32 KiB make eight rounds of what the kernel gives in one.
READ_BYTES = 256 * 1024
_ANNOUNCEMENTS = (b"MSG ", b"HMSG ")
# A server's longest line is its INFO with the addresses of a whole cluster.
MAX_LINE = 1024 * 1024


class TolerantClient(Client):
    """A client that any byte may be sent to."""

    def __init__(self) -> None:
        super().__init__()
        self._raw: dict[str, RawCallback] = {}
        self._ps = _QuickParser(self, self._raw)

    async def subscribe_raw(self, subject: str, callback: RawCallback) -> Subscription:
        """Subscribe with a plain function that is called from the read loop, in the order of arrival.

        After `drain()` everything that the server has sent has been handed over.
        """
        subscription = await self.subscribe(subject, cb=_never)
        sid = subscription._id  # noqa: SLF001 - the server's number of it has no public name
        self._raw[str(sid)] = callback
        return subscription

    @property
    def server_certificate(self) -> bytes | None:
        """The certificate that the server has shown, DER; None where there is none."""
        writer = getattr(self._transport, "_io_writer", None)
        tls = writer.get_extra_info("ssl_object") if writer else None
        return tls.getpeercert(binary_form=True) if tls else None

    async def publish_each(self, subjects: Sequence[str], payload: bytes) -> None:
        """Publish one payload on many subjects as one write.

        Args:
            subjects: as a server sent them (reply subjects); they are not checked again.
            payload: short, the same for all, UTF-8.
        """
        if not subjects:
            return
        tail = f" {len(payload)}\r\n{payload.decode()}\r\n"
        await self._send_command(f"PUB {f'{tail}PUB '.join(subjects)}{tail}".encode())
        await self._flush_pending()

    def abandon(self) -> None:
        """Let go of the connection without a word; to be called on the loop, which needs a turn after that."""
        if self._transport:
            _cut(self._transport)

    async def _connect_to_server(self, s: Srv) -> None:
        if self._transport:
            # A server that refuses us is tried again, and the last try's socket would be forgotten.
            _cut(self._transport)
        if self._nkeys_seed is not None or self._user_credentials is not None:
            # The client keeps the public key of the first seed that it has read; the file may hold another one by now.
            self._setup_nkeys_connect()
        await super()._connect_to_server(s)
        transport: Any = self._transport
        read = transport.read
        transport.read = lambda _: read(READ_BYTES)

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
            self._tell_of_tls()
        except (OSError, NatsError, TimeoutError):
            # Where a TLS handshake has failed, the client would wait for ever for the stream below it to end.
            transport, self._transport = self._transport, None
            _cut(transport)
            raise

    def _tell_of_tls(self) -> None:
        # asyncio warns at the end of a stream that has become TLS without its protocol having been told.
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None and writer.get_extra_info("sslcontext"):
            writer.transport.get_protocol()._over_ssl = True  # noqa: SLF001

    def _connect_command(self) -> bytes:
        # nats-py sends its credentials in the clear to a server that doesn't ask for TLS,
        # which is what somebody between us and the server would have it say.
        scheme = self._current_server.uri.scheme if self._current_server else ""
        wanted = scheme == "tls" or ("tls" in self.options and scheme not in ("ws", "wss"))
        if wanted and not self._server_info.get("tls_required"):
            message = "the server offers no TLS; nothing was sent"
            raise NatsError(message)
        return super()._connect_command()

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
        self._raw.pop(str(sid), None)


class _QuickParser(Parser):
    """Reads the messages of raw subscriptions itself, and leaves every other line to nats-py's parser.

    A message costs a search for its line's end and a split of the line.
    """

    def __init__(self, client: Client, raw: dict[str, RawCallback]) -> None:
        super().__init__(client)
        self._raw = raw

    def reset(self) -> None:
        super().reset()
        # What has come of a line or a message that is not complete; the pieces of a large one are joined once.
        self._pieces: list[bytes] = []
        self._missing = 0

    async def parse(self, data: bytes = b"") -> None:
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
            self._pieces = []
        at = 0
        while at < len(data):
            try:
                at, self._missing = self._take_raw(data, at)
                if not self._missing and at < len(data):
                    at, self._missing = await self._take_other(data, at)
            except (IndexError, ValueError) as error:
                raise ProtocolError from error
            if self._missing:
                self._pieces = [data[at:]]
                return

    def _take_raw(self, data: bytes, at: int) -> tuple[int, int]:
        """Hand over the raw messages from a place on; return where they end, and how many bytes the next one lacks."""
        taken: dict[str, list[RawMessage]] = {sid: [] for sid in self._raw}
        missing, length = 0, len(data)
        while data.startswith(_ANNOUNCEMENTS, at):
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                break
            # MSG subject sid [reply] size; HMSG subject sid [reply] size_of_headers size
            words = data[at:line_end].decode("utf-8", "replace").split(" ")
            messages = taken.get(words[2])
            if messages is None:
                break
            begin = body = line_end + 2
            end = begin + int(words[-1])
            others = 4
            if words[0] == "HMSG":
                body += int(words[-2])
                others = 5
            if not begin <= body <= end:
                raise ValueError(words)
            if end + 2 > length:
                missing = end + 2 - length
                break
            reply = words[3] if len(words) > others else ""
            messages.append((words[1], reply, data[body:end], data[begin:body]))
            at = end + 2
        for sid, messages in taken.items():
            if messages:
                self._raw[sid](messages)
        return at, missing

    async def _take_other(self, data: bytes, at: int) -> tuple[int, int]:
        """Have nats-py take one line, with the message that it announces; return as above."""
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            if len(data) - at > MAX_LINE:
                raise ProtocolError
            return at, 1
        end = line_end + 2
        if data.startswith(_ANNOUNCEMENTS, at):
            size = int(data[at:line_end].split()[-1])
            end += size + 2
            if size < 0:
                raise ValueError(size)
            if end > len(data):
                return at, end - len(data)
        await super().parse(data[at:end])
        if self.buf:
            raise ProtocolError
        return end, 0


def _cut(transport: Transport | None) -> None:
    """End a connection at once, and the one below it where it has become TLS, which the client never closes."""
    for name in ("_io_writer", "_bare_io_writer"):
        writer = getattr(transport, name, None)
        if writer is not None:
            writer.transport.abort()
    if transport is not None:
        transport.close()  # type: ignore[no-untyped-call]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


async def _never(message: Any) -> None:
    message = f"a raw subscription was handed {message!r}"
    raise AssertionError(message)
