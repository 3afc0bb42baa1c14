"""Where the stream and its consumer are written: the manifests under gitops/."""

from pathlib import Path

import gitops

GITOPS = Path(gitops.__file__).parent
STREAM_MANIFEST = GITOPS / "nats" / "stream-agent-comms.yaml"
CONSUMER_MANIFEST = GITOPS / "jangar" / "consumer-jangar-agent-comms.yaml"
