"""Streams and consumers as NACK manifests, read strictly: NATS' Kubernetes controller applies the same YAML.

What the CRD or the server would fill in with a dangerous value (no acks, an ack wait
of a nanosecond, memory storage) must be written out.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import yaml
from msgspec import Meta, Struct
from nats.js.api import ConsumerConfig, Placement, StreamConfig

from connectors.duration import Seconds, parse_duration

Name = Annotated[str, Meta(pattern=r"^[^.*>\s]+$")]
Limit = Annotated[int, Meta(ge=-1)]
Config: TypeAlias = StreamConfig | ConsumerConfig

# nats-py calls a field otherwise than the manifest does.
CONFIG_NAMES = {
    "replicas": "num_replicas",
    "allow_rollup": "allow_rollup_hdrs",
    "discard_per_subject": "discard_new_per_subject",
}


class NackError(ValueError):
    """A manifest is wrong, or the server refused it; the text is one line that names which and why."""


class _Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How the controller reaches the server and what it may do: read, so that it is no typo, and left to it."""

    account: str | None = None
    creds: str | None = None
    nkey: str | None = None
    servers: list[str] = []
    tls: dict[str, Any] | None = None
    tls_first: bool = False
    js_domain: str | None = None
    prevent_delete: bool = False
    prevent_update: bool = False


class PlacementSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """On which servers of a cluster a stream lives."""

    cluster: str | None = None
    tags: list[str] | None = None


class StreamSpec(_Spec, frozen=True, kw_only=True):
    """A stream. What has no default here has a dangerous one in the CRD or on the server."""

    name: Name
    subjects: list[str]
    retention: Literal["limits", "interest", "workqueue"]
    storage: Literal["file", "memory"]
    discard: Literal["old", "new"]
    max_age: Seconds
    max_bytes: Limit
    replicas: Annotated[int, Meta(ge=1, le=5)]
    duplicate_window: Seconds
    description: str | None = None
    max_msgs: Limit = -1
    max_msgs_per_subject: Limit = -1
    max_consumers: Limit = -1
    max_msg_size: Limit = -1
    discard_per_subject: bool = False
    no_ack: bool = False
    deny_delete: bool = False
    deny_purge: bool = False
    allow_rollup: bool = False
    allow_direct: bool = False
    allow_msg_ttl: bool = False
    compression: Literal["s2", "none", ""] = "none"
    placement: PlacementSpec | None = None
    metadata: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.max_age and self.duplicate_window > self.max_age:
            message = "duplicateWindow is longer than maxAge"
            raise ValueError(message)


class ConsumerSpec(_Spec, frozen=True, kw_only=True):
    """A durable pull consumer. What has no default here has a dangerous one in the CRD or on the server."""

    stream_name: Name
    durable_name: Name
    deliver_policy: Literal["all", "last", "new", "byStartSequence", "byStartTime", "lastPerSubject"]
    replay_policy: Literal["instant", "original"]
    ack_policy: Literal["none", "all", "explicit"]
    ack_wait: Seconds
    max_ack_pending: Limit
    max_deliver: Limit
    max_waiting: Annotated[int, Meta(ge=1)]
    description: str | None = None
    opt_start_seq: int | None = None
    opt_start_time: datetime | None = None
    filter_subject: str | None = None
    filter_subjects: list[str] = []
    backoff: list[Seconds] = []
    headers_only: bool = False
    inactive_threshold: Seconds | None = None
    replicas: Annotated[int, Meta(ge=0, le=5)] | None = None
    mem_storage: bool = False
    sample_freq: str | None = None
    metadata: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.filter_subject and self.filter_subjects:
            message = "filterSubject and filterSubjects exclude each other"
            raise ValueError(message)


class _Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", tag_field="kind"):
    api_version: Literal["jetstream.nats.io/v1beta2"]
    metadata: dict[str, Any]


class StreamManifest(_Manifest, frozen=True, kw_only=True, tag="Stream"):
    """A resource of kind Stream."""

    spec: StreamSpec

    @property
    def title(self) -> str:
        """Kind and name, for a person."""
        return f"stream {self.name}"

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.spec.name

    @property
    def stream_name(self) -> str:
        """The same."""
        return self.spec.name

    def config(self) -> StreamConfig:
        """Return the stream as nats-py takes it."""
        values = _config_values(self.spec)
        if self.spec.placement:
            values["placement"] = Placement(**msgspec.structs.asdict(self.spec.placement))
        return StreamConfig(**values)


class ConsumerManifest(_Manifest, frozen=True, kw_only=True, tag="Consumer"):
    """A resource of kind Consumer."""

    spec: ConsumerSpec

    @property
    def title(self) -> str:
        """Kind and name, for a person."""
        return f"consumer {self.name}"

    @property
    def name(self) -> str:
        """The durable's name."""
        return self.spec.durable_name

    @property
    def stream_name(self) -> str:
        """The name of the stream that it consumes."""
        return self.spec.stream_name

    def config(self) -> ConsumerConfig:
        """Return the consumer as nats-py takes it."""
        values = _config_values(self.spec)
        del values["stream_name"]
        # The CRD writes lastPerSubject where the server takes last_per_subject.
        values["deliver_policy"] = re.sub("[A-Z]", lambda c: f"_{c[0].lower()}", self.spec.deliver_policy)
        # Named twice: it is then created under its own subject of the API, the one that a careful account permits.
        return ConsumerConfig(**values, name=self.spec.durable_name)


Manifest: TypeAlias = StreamManifest | ConsumerManifest
# msgspec looks at a type when it is first used, and the interpreter crashes where two threads have it do so at once.
msgspec.json.Decoder(Manifest)


def _config_values(spec: StreamSpec | ConsumerSpec) -> dict[str, Any]:
    names = set(spec.__struct_fields__) - set(_Spec.__struct_fields__)
    values = {CONFIG_NAMES.get(name, name): getattr(spec, name) for name in names}
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def load(path: Path) -> list[Manifest]:
    """Read the Stream and Consumer resources of a file.

    Raises:
        NackError: it can't be read, or a field is unknown, missing or of another type.
    """
    try:
        documents = [d for d in yaml.safe_load_all(path.read_text(encoding="utf-8")) if d is not None]
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise NackError(message) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"{path}: this is not YAML: {' '.join(str(error).split())}"
        raise NackError(message) from error
    return [_convert(document, path) for document in documents]


def _convert(document: object, path: Path) -> Manifest:
    try:
        manifest: Manifest = msgspec.convert(
            document,
            Manifest,
            dec_hook=lambda _, value: parse_duration(value),
        )
    except msgspec.ValidationError as error:
        message = f"{path}: {_field_first(str(error))}"
        raise NackError(message) from error
    return manifest


def _field_first(text: str) -> str:
    """Turn msgspec's words, which end in the path, into words that begin with it."""
    text, _, place = text.partition(" - at `$")
    for pattern, words in (
        ("missing required", "must be written out"),
        ("contains unknown", "is no field that is understood here"),
    ):
        if found := re.search(f"{pattern} field `(\\w+)`", text):
            place, text = f"{place.rstrip('`')}.{found[1]}", words
    place = place.strip("`.")
    return f"{place}: {text[0].lower()}{text[1:]}" if place else text
