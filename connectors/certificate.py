"""Until when certificates and user credentials are good."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

_JWT = re.compile(rb"BEGIN NATS USER JWT-*\s+([A-Za-z0-9_\-.]+)")


class _Claims(Struct):
    exp: float | None = None


_read_claims = msgspec.json.Decoder(_Claims).decode


def certificates_end(pem: bytes) -> float:
    """Return when the first of a file's certificates ends, seconds since the Unix epoch.

    Raises:
        ValueError: it holds none.
    """
    # Here, since few have any to look at, and it takes a while to import.
    from cryptography import x509

    return _first_end(x509.load_pem_x509_certificates(pem))


def certificate_ends(der: bytes) -> float:
    """Return when a certificate ends, seconds since the Unix epoch; raises `ValueError` where it is none."""
    from cryptography import x509

    return _first_end([x509.load_der_x509_certificate(der)])


def _first_end(certificates: Sequence[x509.Certificate]) -> float:
    return min(certificate.not_valid_after_utc.timestamp() for certificate in certificates)


def credentials_end(creds: bytes) -> float | None:
    """Return when a .creds file's user ends, seconds since the Unix epoch; None for never.

    Raises:
        ValueError: it holds no user's JWT.
    """
    found = _JWT.search(creds)
    if found is None:
        message = "there is no user's JWT in it"
        raise ValueError(message)
    body = found[1].split(b".")[1:2]
    if not body:
        message = "its JWT has no body"
        raise ValueError(message)
    return _read_claims(base64.urlsafe_b64decode(body[0] + b"==")).exp
