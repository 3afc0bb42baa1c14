"""Where stream, consumer and accounts are written: the files under gitops/."""

from pathlib import Path
from typing import TypeVar

import gitops
from connectors import nack
from connectors.nack import ConsumerManifest, Manifest, NackError, StreamManifest

GITOPS = Path(gitops.__file__).parent
STREAM_MANIFEST = GITOPS / "nats" / "stream-agent-comms.yaml"
CONSUMER_MANIFEST = GITOPS / "jangar" / "consumer-jangar-agent-comms.yaml"
ACCOUNTS = GITOPS / "nats" / "accounts.conf"

M = TypeVar("M", StreamManifest, ConsumerManifest)


def stream() -> StreamManifest:
    """Return the stream's manifest; raises `NackError` where the file is wrong."""
    return _only(STREAM_MANIFEST, StreamManifest)


def consumer() -> ConsumerManifest:
    """Return the consumer's manifest; raises `NackError` where the file is wrong."""
    return _only(CONSUMER_MANIFEST, ConsumerManifest)


def manifests() -> list[Manifest]:
    """Return both, in the order in which they are created."""
    return [stream(), consumer()]


def _only(path: Path, kind: type[M]) -> M:
    match nack.load(path):
        case [manifest] if isinstance(manifest, kind):
            return manifest
    message = f"{path}: it must hold one resource, of kind {kind.__name__.removesuffix('Manifest')}"
    raise NackError(message)
