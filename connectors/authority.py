"""A throw-away certificate authority: it signs one server's certificate, and its own key is never kept."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from connectors.private import write_private

LIFE = timedelta(days=365)
# Nothing is started with a certificate that ends sooner.
LEFT = timedelta(days=30)
# A client whose clock is behind must not refuse it.
SKEW = timedelta(hours=1)
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class ServerCertificate:
    """The files of a server's certificate; whoever trusts it needs `ca` alone.

    Attributes:
        ca: the authority's certificate.
        cert: the server's.
        key: the server's key, for its owner alone.
    """

    ca: Path
    cert: Path
    key: Path


def keep(folder: Path, hosts: Sequence[str]) -> ServerCertificate:
    """Return the certificate in a folder; where it is missing or will end soon, it and its authority are made anew.

    Args:
        folder: made where it is missing.
        hosts: names and addresses that the server is reached by.
    """
    files = _files(folder)
    return files if _is_good(files, hosts) else issue(folder, hosts)


def issue(folder: Path, hosts: Sequence[str], life: timedelta = LIFE) -> ServerCertificate:
    """Make an authority and a server's certificate in a folder, whatever was there.

    Args:
        folder: made where it is missing.
        hosts: names and addresses that the server is reached by.
        life: how long both are good for, from an hour ago.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = _files(folder)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _builder("agent-comms local CA", authority_key, authority_key, life)
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    authority = authority.add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
    server = _builder(hosts[0], key, authority_key, life)
    server = server.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    server = server.add_extension(_usage("digital_signature"), critical=True)
    server = server.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    server = server.add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
    pem = serialization.Encoding.PEM
    # The authority's comes last: what stands there for the others.
    write_private(files.key, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    write_private(files.cert, server.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    write_private(files.ca, authority.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    return files


def _files(folder: Path) -> ServerCertificate:
    return ServerCertificate(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, authority_key: ec.EllipticCurvePrivateKey, life: timedelta
) -> x509.CertificateBuilder:
    begin = datetime.now(UTC) - SKEW
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_common_name(name))
        .issuer_name(_common_name("agent-comms local CA"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer, critical=False)
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _USAGES})


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _is_good(files: ServerCertificate, hosts: Sequence[str]) -> bool:
    """Say whether the files belong together, name the hosts and are good for long enough."""
    try:
        authority, server = (x509.load_pem_x509_certificate(path.read_bytes()) for path in (files.ca, files.cert))
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        server.verify_directly_issued_by(authority)
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature):
        return False
    until = min(authority.not_valid_after_utc, server.not_valid_after_utc)
    return (
        until - datetime.now(UTC) > LEFT
        and key.public_key() == server.public_key()
        and {_name(host) for host in hosts} <= set(names)
    )
