import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from connectors import authority
from connectors.loopback import HOST

HOSTS = (HOST, "localhost")


def test_a_server_with_it_is_trusted_under_its_names_and_no_other(tmp_path: Path) -> None:
    files = authority.issue(tmp_path, HOSTS)
    server = x509.load_pem_x509_certificate(files.cert.read_bytes())
    server.verify_directly_issued_by(x509.load_pem_x509_certificate(files.ca.read_bytes()))
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == [HOST]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    ssl.create_default_context(cafile=str(files.ca))
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.cert, files.key)


def test_the_authoritys_key_is_nowhere(tmp_path: Path) -> None:
    files = authority.issue(tmp_path, HOSTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.crt", "tls.crt", "tls.key"]
    assert files.key.read_text().count("PRIVATE KEY") == 2
    assert files.key.stat().st_mode & 0o777 == 0o600


def test_what_is_good_is_kept(tmp_path: Path) -> None:
    before = authority.keep(tmp_path, HOSTS).cert.read_bytes()
    assert authority.keep(tmp_path, HOSTS).cert.read_bytes() == before


def test_what_ends_soon_names_too_little_or_does_not_belong_together_is_made_anew(tmp_path: Path) -> None:
    authority.issue(tmp_path, HOSTS, life=timedelta(days=20))
    files = authority.keep(tmp_path, HOSTS)
    until = x509.load_pem_x509_certificate(files.cert.read_bytes()).not_valid_after_utc
    assert until - datetime.now(UTC) > timedelta(days=300)
    before = files.cert.read_bytes()
    assert authority.keep(tmp_path, (*HOSTS, "another.name")).cert.read_bytes() != before
    for file in (files.ca, files.cert, files.key):
        for broken in (b"", b"nothing", authority.issue(tmp_path / "other", HOSTS).ca.read_bytes()):
            authority.keep(tmp_path, HOSTS)
            file.write_bytes(broken)
            files = authority.keep(tmp_path, HOSTS)
            server = x509.load_pem_x509_certificate(files.cert.read_bytes())
            server.verify_directly_issued_by(x509.load_pem_x509_certificate(files.ca.read_bytes()))
