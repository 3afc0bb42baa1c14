import asyncio
import gc
import socket
import threading
import warnings
import weakref
from pathlib import Path

import pytest

import connectors.connection
from connectors.connection import NatsConnection, NatsOptions, NatsUnavailable
from connectors.loopback import HOST
from tests.servers import NatsServer
from tests.waiting import wait_until
from web.link import Link

# A certificate whose key nobody has.
AUTHORITY = """\
-----BEGIN CERTIFICATE-----
MIIBkDCCATegAwIBAgIUIj/9D0UnWvEI5BVMPz52PCPVi7gwCgYIKoZIzj0EAwIw
HTEbMBkGA1UEAwwSbm9ib2R5J3MgYXV0aG9yaXR5MCAXDTI2MTEyNDIwMTI0NloY
DzIxMjYxMDMxMjAxMjQ2WjAdMRswGQYDVQQDDBJub2JvZHkncyBhdXRob3JpdHkw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR42ojIVB/m0hyFGGEGJ2LSzv1vnJn3
bljWCGnscvkPzjTBQ5mezlAwykO4YCj9XFnDCMn2Op4WuHyhcccgo5A5o1MwUTAd
BgNVHQ4EFgQUjSTsVIvThzoUfm0nCzBxWVg15nwwHwYDVR0jBBgwFoAUjSTsVIvT
hzoUfm0nCzBxWVg15nwwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBE
AiA42l/fziBLmnDNuO7CvlB76pnJLiCe388csYn87ZNCPAIgZmRQJmBtyyNMN7A3
JFVBwcgPs/ZKbM/wB6iDwtPfFDk=
-----END CERTIFICATE-----
"""
INFO = b'INFO {"server_id":"x","version":"2.15.0","max_payload":1048576,"auth_required":true,"headers":true}\r\n'


class Eavesdropper(threading.Thread):
    """Stands in for a server and says that there is no TLS; keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.heard = b""
        self._listener = socket.create_server((HOST, 0))
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(INFO)
                while data := connection.recv(4096):
                    self.heard += data

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join()


def test_a_close_for_which_there_is_no_time_leaves_no_socket_open(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = NatsConnection(NatsOptions((nats_server.url,))).connect()

    async def takes_too_long() -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(connection.client, "close", takes_too_long)
    monkeypatch.setattr(connectors.connection, "CONNECT_TIMEOUT_S", 0.1)
    held = weakref.ref(connection)
    connection.close()
    connection._thread.join(60)
    monkeypatch.undo()
    del connection
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gc.collect()
    assert held() is None
    assert [str(each.message) for each in told] == []


def test_a_connection_is_closed_once(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = NatsConnection(NatsOptions((nats_server.url,))).connect()
    connection.close()
    # As it may look to another thread, though the loop is closed.
    monkeypatch.setattr(connection._thread, "is_alive", lambda: True)
    connection.close()


def test_a_link_that_is_closed_before_a_server_has_answered_ends_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    link = Link(NatsOptions((f"nats://{HOST}:1",), name="left"))
    connection = link.start()
    wait_until(lambda: connection.last_error, "the first failure")
    link.close()
    wait_until(lambda: not [each for each in threading.enumerate() if each.name in ("link", "nats:left")], "its end")
    assert failed == []


@pytest.mark.parametrize("servers", [("bogus",), ("nats://me:s3cret@bogus:4222", "tls://also.bogus")])
def test_a_server_whose_name_nobody_knows_is_named(servers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # Tests ask nobody beyond this machine, neither a name server.
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(NatsUnavailable) as raised:
        NatsConnection(NatsOptions(servers=servers, name="test")).connect(wait=False)
    names = "bogus" if len(servers) == 1 else "bogus, also.bogus"
    assert str(raised.value) == f"no address is known of {names}: Name or service not known"


def test_what_is_no_name_of_a_host_is_named() -> None:
    with pytest.raises(NatsUnavailable, match=r"no address is known of a\.\.b: that is no name of a host"):
        NatsConnection(NatsOptions(servers=("nats://a..b",), name="test")).connect(wait=False)


@pytest.mark.parametrize("asked_by", ["scheme", "authority"])
def test_where_tls_is_asked_for_no_credential_goes_out_without(asked_by: str, tmp_path: Path) -> None:
    server = Eavesdropper()
    server.start()
    scheme = "tls" if asked_by == "scheme" else "nats"
    (tmp_path / "ca.pem").write_text(AUTHORITY)
    authority = tmp_path / "ca.pem" if asked_by == "authority" else None
    options = NatsOptions((f"{scheme}://{server.address}",), user="me", password="hunter2", ca_file=authority)
    with pytest.raises(NatsUnavailable, match="no TLS"):
        NatsConnection(options).connect(wait=False)
    server.close()
    assert b"hunter2" not in server.heard
    assert b"CONNECT" not in server.heard
