"""The TLS of a client that trusts an authority of its own, or shows a certificate."""

import ssl
from pathlib import Path


class UnusableFile(ConnectionError):
    """A file that TLS needs can't be used; the text is one line that names it.

    Attributes:
        option: which argument of `client_context` it is, such as `ca_file`.
        why: the file, and what is wrong with it.
    """

    def __init__(self, option: str, file: Path, why: str) -> None:
        self.option = option
        self.why = f"{file} {why}"
        super().__init__(f"{option}: {self.why}")


def client_context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext | None:
    """Return a client's TLS context, or None where it has neither an authority nor a certificate.

    Args:
        ca_file: whom it trusts, PEM; the system's authorities where there is none.
        cert_file: what it shows, PEM.
        key_file: the key of that, where it isn't in the same file.

    Raises:
        UnusableFile: one of the files can't be read, or doesn't hold what it is to hold.
    """
    if not (ca_file or cert_file):
        return None
    if ca_file:
        _require_certificate("ca_file", ca_file)
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    if cert_file:
        _require_certificate("cert_file", cert_file)
        _show(context, cert_file, key_file)
    return context


def _require_certificate(option: str, file: Path) -> None:
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        probe.load_verify_locations(cafile=file)
    except ssl.SSLError as error:
        raise UnusableFile(option, file, "holds no certificate in PEM") from error
    except OSError as error:
        raise UnusableFile(option, file, f"can't be read: {error.strerror}") from error
    # It may hold a list of those that are revoked, and nothing else.
    if not probe.cert_store_stats()["x509"]:
        raise UnusableFile(option, file, "holds no certificate in PEM")


def _show(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    option, file = ("key_file", key_file) if key_file else ("cert_file", cert_file)
    asked: list[bool] = []

    def no_password() -> str:
        # Without this, OpenSSL would ask for it on the terminal, and wait.
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(cert_file, key_file, no_password)
    except ssl.SSLError as error:
        if asked:
            why = "holds an encrypted key, and there is nobody to give its password"
        elif "KEY_VALUES_MISMATCH" in (error.reason or ""):
            why = f"holds a key that doesn't belong to the certificate in {cert_file}"
        else:
            why = f"holds no key that can be used{f' ({error.reason})' if error.reason else ''}"
        raise UnusableFile(option, file, why) from error
    except OSError as error:
        raise UnusableFile(option, file, f"can't be read: {error.strerror}") from error
