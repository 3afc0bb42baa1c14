"""Creates the streams and consumers of manifests, and names what a server has otherwise.

Nothing is ever deleted, and what exists is changed only when asked to.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from msgspec import Struct
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from connectors.duration import format_duration
from connectors.nack import CONFIG_NAMES, Config, ConsumerManifest, Manifest, NackError, StreamManifest

Note: TypeAlias = Callable[[str], object]

# JetStream's error codes.
_LONE_SERVER = 10074
_STREAM_NAME_IN_USE = 10058

_MANIFEST_NAMES = {config: manifest for manifest, config in CONFIG_NAMES.items()}
_SECONDS = {"max_age", "duplicate_window", "ack_wait", "inactive_threshold"}
# What a server refuses to change on what exists, and what it lets be switched on only.
_FIXED = {
    StreamConfig: {"storage", "first_seq", "mirror"},
    ConsumerConfig: {
        "deliver_policy",
        "opt_start_seq",
        "opt_start_time",
        "ack_policy",
        "replay_policy",
        "max_waiting",
        "mem_storage",
        "idle_heartbeat",
        "flow_control",
        "deliver_subject",
    },
}
_NEVER_OFF = {"deny_delete", "deny_purge", "allow_msg_ttl", "sealed"}


class Difference(Struct, frozen=True):
    """One field in which the server's stream or consumer is not what the manifest says.

    Attributes:
        resource: kind and name, such as `stream agent-comms`.
        field: as the manifest calls it.
        config_name: as nats-py calls it.
        fixed: whether no server changes it on what exists.
    """

    resource: str
    field: str
    manifest: str
    server: str
    config_name: str
    fixed: bool

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.resource}: {self.field}: {self.manifest} in the manifest, {self.server} on the server"


def compare(manifest: Manifest, server: Config, wanted: Config | None = None) -> list[Difference]:
    """Name the fields in which the server's configuration differs from the manifest's.

    Args:
        manifest: what should be.
        server: what is.
        wanted: the manifest's configuration where the server can't hold all of it.
    """
    wanted = wanted or manifest.config()
    differences = []
    for name in (field.name for field in dataclasses.fields(wanted)):
        want, have = getattr(wanted, name), getattr(server, name)
        if _plain(name, want) != _plain(name, have):
            differences.append(
                Difference(
                    manifest.title,
                    field=_manifest_name(name),
                    manifest=_shown(name, want),
                    server=_shown(name, have),
                    config_name=name,
                    fixed=_is_fixed(type(wanted), name, want, have),
                )
            )
    return differences


def _is_fixed(kind: type[Config], name: str, want: Any, have: Any) -> bool:
    return (
        name in _FIXED[kind]
        or (name in _NEVER_OFF and not want)
        or (name == "retention" and "workqueue" in (want, have))
    )


def _plain(name: str, value: Any) -> Any:
    """Return a value so that what means the same to the server is the same."""
    if name == "metadata":
        # The server keeps its own notes there.
        value = {k: v for k, v in (value or {}).items() if not k.startswith("_nats.")}
    if name in ("subjects", "filter_subjects"):
        value = sorted(value or [])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {k: v for k, v in dataclasses.asdict(value).items() if v is not None}
    value = getattr(value, "value", value)
    unset = value in (None, 0, -1, "", [], {}) or (name == "compression" and value == "none")
    return None if unset else value


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "unset"
    if name == "backoff":
        return ", ".join(map(format_duration, value))
    if name in _SECONDS:
        return format_duration(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if dataclasses.is_dataclass(value):
        return str(_plain(name, value) or "unset")
    return str(value).lower() if isinstance(value, bool) else str(getattr(value, "value", value))


def _manifest_name(config_name: str) -> str:
    head, *tail = _MANIFEST_NAMES.get(config_name, config_name).split("_")
    return head + "".join(map(str.capitalize, tail))


async def bootstrap(
    js: JetStreamContext,
    manifests: Iterable[Manifest],
    *,
    update: bool = False,
    note: Note = lambda _: None,
) -> list[Difference]:
    """Create what is missing and name what differs; several processes may do so at once.

    Args:
        js: under whose account, and through which prefix.
        manifests: what should be there; streams are seen to before consumers.
        update: change what differs, as far as the server lets it; otherwise nothing that exists is changed.
        note: told each thing that was done or found, a line each.

    Returns:
        The differences that are left.

    Raises:
        NackError: the server refused, or did not answer.
    """
    left: list[Difference] = []
    for manifest in sorted(manifests, key=lambda m: isinstance(m, ConsumerManifest)):
        try:
            left += await _apply(js, manifest, update=update, note=note)
        except (APIError, NatsError) as error:
            message = f"{manifest.title}: {_refusal(error)}"
            raise NackError(message) from error
    return left


def _refusal(error: Exception) -> str:
    if isinstance(error, APIError) and error.description:
        return f"the server refused: {error.description}"
    if isinstance(error, ServiceUnavailableError):
        return "nothing answers for JetStream here: it is not enabled, or not for this user's account"
    if isinstance(error, NatsTimeoutError):
        return "JetStream gave no answer"
    return str(error)


async def _apply(js: JetStreamContext, manifest: Manifest, *, update: bool, note: Note) -> list[Difference]:
    title = manifest.title
    wanted = manifest.config()
    found = await _find(js, manifest)
    created = found is None
    config, lone = found or await _create(js, manifest)
    if lone and (wanted.num_replicas or 0) > 1:
        note(f"{title}: 1 replica instead of {wanted.num_replicas}, since this is a lone server")
        wanted = wanted.evolve(num_replicas=1)
    differences = compare(manifest, config, wanted)
    if not differences:
        note(f"{title}: created" if created else f"{title}: is as its manifest says")
    for difference in differences:
        note(str(difference))
    if not (differences and update):
        return differences

    kept = {d.config_name: getattr(config, d.config_name) for d in differences if d.fixed}
    if len(kept) < len(differences):
        await _put(js, manifest.stream_name, wanted.evolve(**kept), exists=True)
        note(f"{title}: changed {', '.join(d.field for d in differences if not d.fixed)}")
    if kept:
        fields = ", ".join(d.field for d in differences if d.fixed)
        note(f"{title}: the server never changes {fields} of what exists; it must be deleted and made anew by hand")
    found = await _find(js, manifest)
    return compare(manifest, found[0], wanted) if found else differences


async def _find(js: JetStreamContext, manifest: Manifest) -> tuple[Config, bool] | None:
    """Return what the server has, and whether that server is alone."""
    info: StreamInfo | ConsumerInfo
    try:
        if isinstance(manifest, StreamManifest):
            info = await js.stream_info(manifest.stream_name)
        else:
            info = await js.consumer_info(manifest.stream_name, manifest.name)
    except NotFoundError:
        return None
    return info.config, not (info.cluster and info.cluster.name)


async def _create(js: JetStreamContext, manifest: Manifest) -> tuple[Config, bool]:
    config = manifest.config()
    try:
        try:
            await _put(js, manifest.stream_name, config)
        except APIError as error:
            if error.err_code != _LONE_SERVER:
                raise
            await _put(js, manifest.stream_name, config.evolve(num_replicas=1))
    except APIError as error:
        # Another process was quicker, with another manifest: what it made is compared like anything that exists.
        if error.err_code != _STREAM_NAME_IN_USE:
            raise
    found = await _find(js, manifest)
    if found is None:
        message = f"{manifest.title}: was deleted while it was being created"
        raise NackError(message)
    return found


async def _put(js: JetStreamContext, stream: str, config: Config, *, exists: bool = False) -> None:
    if isinstance(config, ConsumerConfig):
        await js.add_consumer(stream, config)
    elif exists:
        await js.update_stream(config)
    else:
        await js.add_stream(config)
