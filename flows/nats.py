"""How our settings reach NATS."""

from urllib.parse import urlsplit

import nkeys

from connectors.connection import NatsOptions
from connectors.tls import UnusableFile
from flows.settings import SettingError, Settings

_SCHEMES = ("nats", "tls", "ws", "wss")
_FILES = ("nats_creds_file", "nats_nkey_seed_file", "nats_ca_file", "nats_cert_file", "nats_key_file")
_SUBJECTS = ("nats_subject_prefix", "nats_inbox_prefix", "nats_js_api_prefix")


def nats_options(settings: Settings, name: str, *, patient: bool = False) -> NatsOptions:
    """Return the options of a connection that calls itself `name`.

    Args:
        settings: the environment.
        name: shown in the server's monitoring.
        patient: a certificate or key that can't be used is left to the connection, which tells of it and tries again.

    Raises:
        SettingError: a URL, a file or a prefix could never work; the client would say so less clearly, or not at all.
    """
    servers = tuple(url.strip() for url in settings.nats_url.split(",") if url.strip())
    _check_servers(servers)
    _check_files(settings)
    _check_credentials(settings)
    _check_subjects(settings)
    options = _options(settings, servers, name)
    if not patient:
        _check_certificates(options)
    return options


def _options(settings: Settings, servers: tuple[str, ...], name: str) -> NatsOptions:
    return NatsOptions(
        servers=servers,
        name=name,
        creds_file=settings.nats_creds_file,
        creds=settings.nats_creds,
        nkey_seed_file=settings.nats_nkey_seed_file,
        user=settings.nats_user,
        password=settings.nats_password,
        ca_file=settings.nats_ca_file,
        cert_file=settings.nats_cert_file,
        key_file=settings.nats_key_file,
        inbox_prefix=settings.nats_inbox_prefix,
        js_api_prefix=settings.nats_js_api_prefix,
    )


def _check_servers(servers: tuple[str, ...]) -> None:
    if not servers:
        message = "NATS_URL: it names no server; it takes nats://HOST:PORT"
        raise SettingError(message)
    for server in servers:
        try:
            url = urlsplit(server if "://" in server else f"nats://{server}")
            usable = url.scheme in _SCHEMES and bool(url.hostname) and url.port != 0
        except ValueError:
            usable = False
        if not usable:
            message = "NATS_URL: it takes nats://HOST:PORT, or several separated by commas, but got a value (not shown)"
            raise SettingError(message)


def _check_files(settings: Settings) -> None:
    for field in _FILES:
        path = getattr(settings, field)
        if path is None:
            continue
        try:
            path.read_bytes()
        except OSError as error:
            message = f"{field.upper()}: {path}: {error.strerror}"
            raise SettingError(message) from error


def _check_credentials(settings: Settings) -> None:
    for there, missing in (("nats_user", "nats_password"), ("nats_password", "nats_user")):
        if getattr(settings, there) and not getattr(settings, missing):
            message = f"{missing.upper()}: it is needed with {there.upper()}, and is missing"
            raise SettingError(message)
    # Unusable ones are never sent, and the server then says "Authorization Violation", which sounds like another thing.
    if settings.nats_creds_file:
        _check_creds("NATS_CREDS_FILE", settings.nats_creds_file.read_text(errors="replace"))
    if settings.nats_creds:
        _check_creds("NATS_CREDS", settings.nats_creds)
    if settings.nats_nkey_seed_file:
        try:
            nkeys.from_seed(bytearray(settings.nats_nkey_seed_file.read_bytes().strip()))
        except (nkeys.NkeysError, ValueError) as error:
            message = f"NATS_NKEY_SEED_FILE: {settings.nats_nkey_seed_file} holds no NKey seed"
            raise SettingError(message) from error


def _check_certificates(options: NatsOptions) -> None:
    if options.key_file and not options.cert_file:
        message = "NATS_KEY_FILE: it goes with NATS_CERT_FILE, which is not set"
        raise SettingError(message)
    try:
        options.tls()
    except UnusableFile as error:
        message = f"NATS_{error.option.upper()}: {error.why}"
        raise SettingError(message) from error


def _check_creds(variable: str, text: str) -> None:
    if not all(f"BEGIN {part}" in text for part in ("NATS USER JWT", "USER NKEY SEED")):
        message = f"{variable}: it takes a user's JWT and seed between BEGIN and END lines, but got a value (not shown)"
        raise SettingError(message)


def _check_subjects(settings: Settings) -> None:
    for field in _SUBJECTS:
        subject = getattr(settings, field)
        if not all(subject.split(".")) or any(character.isspace() or character in "*>" for character in subject):
            message = f"{field.upper()}: it takes tokens separated by dots, without * and >, but got {subject!r}"
            raise SettingError(message)
