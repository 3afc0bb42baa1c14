"""How our settings reach NATS."""

from connectors.connection import NatsOptions
from flows.settings import Settings


def nats_options(settings: Settings, name: str) -> NatsOptions:
    """Return the options of a connection that calls itself `name`."""
    return NatsOptions(
        servers=tuple(url.strip() for url in settings.nats_url.split(",") if url.strip()),
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
