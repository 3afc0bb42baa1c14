"""When the credentials end that this process is to use."""

from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from connectors.certificate import certificate_ends, certificates_end, credentials_end
from flows.settings import Settings

# The server's own certificate, among the settings' names.
SERVER = "nats_server"
_READERS: dict[str, Callable[[bytes], float | None]] = {
    "nats_ca_file": certificates_end,
    "nats_cert_file": certificates_end,
    "nats_creds_file": credentials_end,
    "nats_creds": credentials_end,
}


def expiries(settings: Settings) -> dict[str, float]:
    """Return when each of the set credentials ends, seconds since the Unix epoch, by the name of its setting.

    Files are read anew, since they are rotated. What ends never, or can't be read, is left out: whoever
    connects says so better.
    """
    found = {}
    for name, read in _READERS.items():
        value = getattr(settings, name)
        if value is None or (name == "nats_creds" and settings.nats_creds_file):
            continue
        try:
            at = read(value.read_bytes() if isinstance(value, Path) else value.encode())
        except (OSError, ValueError):
            continue
        if at is not None:
            found[name] = at
    return found


class Expiries(Collector):
    """Tells Prometheus.

    Args:
        settings: the environment.
        shown: asked for the certificate that the server has shown, DER.
    """

    def __init__(self, settings: Settings, shown: Callable[[], bytes | None] = lambda: None) -> None:
        self._settings = settings
        self._shown = shown

    def family(self) -> GaugeMetricFamily:
        """Return the metric, with what there is to tell."""
        family = GaugeMetricFamily(
            "agent_comms_credential_expiry_timestamp_seconds",
            "When a credential for NATS ends, by the name of its setting, or the server's certificate: Unix time.",
            labels=["credential"],
        )
        for name, at in expiries(self._settings).items():
            family.add_metric([name], at)
        if shown := self._shown():
            family.add_metric([SERVER], certificate_ends(shown))
        return family

    def collect(self) -> Iterator[Metric]:
        """Yield the one metric, where there is something to tell."""
        family = self.family()
        if family.samples:
            yield family
