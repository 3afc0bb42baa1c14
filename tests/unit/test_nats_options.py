"""Which certificates and keys stop a program at its start, and in which words."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from connectors.authority import issue
from connectors.loopback import HOST
from flows.nats import nats_options
from flows.settings import SettingError, Settings

NONE = {"empty": b"", "garbage": b"hello", "seed": b"SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY"}
NO_CERTIFICATE = "holds no certificate in PEM"
NO_KEY = "holds no key that can be used"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate with its key, that key encrypted, a key of another certificate, and files that are none."""
    folder = tmp_path_factory.mktemp("tls")
    files = issue(folder, [HOST])
    (folder / "other.key").write_bytes(issue(folder / "other", [HOST]).key.read_bytes())
    key = load_pem_private_key(files.key.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (folder / "locked.key").write_bytes(locked)
    for name, content in NONE.items():
        (folder / name).write_bytes(content)
    return folder


def options(folder: Path, **names: str) -> None:
    environ = {f"NATS_{option.upper()}_FILE": str(folder / name) for option, name in names.items()}
    nats_options(Settings.from_env(environ), "test")


def test_what_belongs_together_is_taken(folder: Path) -> None:
    options(folder, ca="ca.crt")
    options(folder, ca="ca.crt", cert="tls.crt", key="tls.key")


@pytest.mark.parametrize(
    ("names", "wrong", "why"),
    [
        *[({"ca": name}, "ca", NO_CERTIFICATE) for name in NONE],
        *[({"cert": name, "key": "tls.key"}, "cert", NO_CERTIFICATE) for name in NONE],
        *[({"cert": "tls.crt", "key": name}, "key", NO_KEY) for name in NONE],
        ({"ca": "tls.key"}, "ca", NO_CERTIFICATE),
        ({"cert": "tls.crt"}, "cert", NO_KEY),
        ({"cert": "tls.crt", "key": "other.key"}, "key", "holds a key that doesn't belong to the certificate in "),
        ({"cert": "tls.crt", "key": "locked.key"}, "key", "holds an encrypted key, and there is nobody to give its pa"),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else None,
)
def test_what_does_not_is_one_line_that_names_the_setting_and_the_file(
    names: dict[str, str], wrong: str, why: str, folder: Path
) -> None:
    with pytest.raises(SettingError) as raised:
        options(folder, **names)
    assert str(raised.value).startswith(f"NATS_{wrong.upper()}_FILE: {folder / names[wrong]} {why}")
    assert "\n" not in str(raised.value)


def test_a_key_without_its_certificate_is_refused(folder: Path) -> None:
    with pytest.raises(SettingError, match="NATS_KEY_FILE: it goes with NATS_CERT_FILE, which is not set"):
        options(folder, key="tls.key")


def test_who_is_patient_is_let_go_on(folder: Path) -> None:
    settings = Settings.from_env({"NATS_CA_FILE": str(folder / "empty")})
    assert nats_options(settings, "test", patient=True).ca_file == folder / "empty"
