import socket
import threading
from pathlib import Path

import pytest

from connectors.connection import NatsConnection, NatsOptions, NatsUnavailable
from connectors.loopback import HOST

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
