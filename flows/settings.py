"""Every setting of every program: its variable, type, default and one sentence.

`Settings.from_env` reads them; `table()` prints them, so that the README's table
and the code cannot differ.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_type_hints

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
# More than any disk has.
Size = Annotated[int, Meta(ge=1, le=2**50)]
# As long a time as dates can be reckoned with, in whatever unit.
Span = Annotated[int, Meta(ge=1, le=100_000)]
Heartbeat = Annotated[int, Meta(ge=1, le=15)]
Auth = Literal["none", "token", "proxy"]
LogFormat = Literal["logfmt", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class SettingError(ValueError):
    """A variable is missing or holds what it cannot hold; the text is one line that names it."""


def setting(sentence: str, *, secret: bool = False) -> Meta:
    """Describe a setting; a secret's value is never shown, in errors neither."""
    return Meta(description=sentence, extra={"secret": secret})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The environment, typed. A field's variable is its name in capitals."""

    nats_url: Annotated[str, setting("Where NATS listens; several servers are separated by commas.", secret=True)] = (
        "nats://127.0.0.1:4222"
    )
    nats_creds_file: Annotated[Path | None, setting("A NATS .creds file (JWT and seed).")] = None
    nats_creds: Annotated[str | None, setting("The content of a .creds file.", secret=True)] = None
    nats_nkey_seed_file: Annotated[Path | None, setting("A file that holds an NKey seed.")] = None
    nats_user: Annotated[str | None, setting("User name at NATS.")] = None
    nats_password: Annotated[str | None, setting("Password at NATS.", secret=True)] = None
    nats_ca_file: Annotated[Path | None, setting("The authority that signed the NATS server's certificate.")] = None
    nats_cert_file: Annotated[Path | None, setting("This client's certificate for NATS.")] = None
    nats_key_file: Annotated[Path | None, setting("The key of NATS_CERT_FILE.")] = None
    nats_subject_prefix: Annotated[str, setting("First tokens of published subjects.")] = "workflow"
    nats_inbox_prefix: Annotated[str, setting("First tokens of the inboxes this client listens on.")] = "_INBOX"
    nats_js_api_prefix: Annotated[str, setting("Where the JetStream API is imported to.")] = "$JS.API"

    database_url: Annotated[str, setting("Any libpq URI or key=value string, passed on as it is.", secret=True)] = (
        "postgresql:///agent_comms"
    )

    workflow_uid: Annotated[str | None, setting("Publisher: the workflow's uid; falls back to its name.")] = None
    workflow_name: Annotated[str | None, setting("Publisher: the workflow's name.")] = None
    workflow_namespace: Annotated[str, setting("Publisher: the workflow's namespace.")] = "agents"
    workflow_stage: Annotated[str | None, setting("Publisher: the stage the agent works in.")] = None
    workflow_step: Annotated[str | None, setting("Publisher: the step the agent works in.")] = None
    run_id: Annotated[str | None, setting("Publisher: the run's id, where it differs from the uid.")] = None
    agent_id: Annotated[str, setting("Publisher: the agent that speaks.")] = "agent"
    agent_role: Annotated[
        Literal["system", "user", "assistant", "tool"] | None,
        setting("Publisher: the role of what it says; by default the kind decides."),
    ] = None

    agent_runtime: Annotated[
        str | None, setting("Publisher: what runs the workflow, such as `argo`; by default it is native.")
    ] = None
    agent_comms_spool_dir: Annotated[
        Path | None,
        setting("Publisher: where it keeps what NATS has not taken yet; by default a temporary folder."),
    ] = None
    agent_comms_spool_bytes: Annotated[
        Size, setting("Publisher: how much it keeps for NATS at most, in bytes; what is beyond is left to backfill.")
    ] = 67_108_864
    agent_comms_host: Annotated[str, setting("Web: the address to listen on.")] = "127.0.0.1"
    agent_comms_port: Annotated[Port, setting("Web: the port to listen on.")] = 8080
    agent_comms_auth: Annotated[
        Auth,
        setting(
            "Web: who may read: `none` asks nobody and takes a loopback address, `token` and `proxy` take"
            " AGENT_COMMS_READERS_FILE."
        ),
    ] = "none"
    agent_comms_readers_file: Annotated[
        Path | None,
        setting("Web: who may read what, TOML: `[[reader]]` of `agent-comms token`, `[[group]]` for a proxy's groups."),
    ] = None
    agent_comms_proxy_addresses: Annotated[
        str,
        setting(
            "Web: from where X-Forwarded-User, -Groups and -For are believed: addresses and networks, separated by"
            " commas, and `unix`."
        ),
    ] = ""
    agent_comms_cookie_key: Annotated[
        Annotated[str, Meta(min_length=16)] | None,
        setting(
            "Web: goes into the signature of sign-in cookies, the same in every process; without it whoever can read"
            " AGENT_COMMS_READERS_FILE could sign one.",
            secret=True,
        ),
    ] = None
    agent_comms_session_hours: Annotated[Span, setting("Web: how long a sign-in lasts, in hours.")] = 12
    agent_comms_hosts: Annotated[
        str,
        setting(
            "Web: the host names that it answers to, without ports, separated by commas; by default any, with"
            " AGENT_COMMS_AUTH `none` loopback's and names without a dot."
        ),
    ] = ""
    agent_comms_posts_per_minute: Annotated[
        Count, setting("Web: how many messages one reader may say in a minute, to one process.")
    ] = 300
    agent_comms_metrics_host: Annotated[
        str, setting("Metrics: the address to listen on; `0.0.0.0` where a scraper comes from elsewhere.")
    ] = "127.0.0.1"
    agent_comms_metrics_port: Annotated[
        Port | None,
        setting(
            "Metrics: their port. By default 9464 for the flow and `reconcile --loop`, none for `publish`, `run` and"
            " `backfill`; 0 for none."
        ),
    ] = None
    agent_comms_max_message_bytes: Annotated[
        Size, setting("Flow: a larger message becomes a dead letter, in bytes.")
    ] = 1_048_576
    agent_comms_max_tries: Annotated[
        Count,
        setting("Flow: a message that fails so often by itself, while others are stored, becomes a dead letter."),
    ] = 8
    agent_comms_redact_file: Annotated[
        Path | None, setting("Flow: further credentials to redact, TOML: `[[pattern]]` with `kind` and `regex`.")
    ] = None
    agent_comms_artifacts: Annotated[
        str | None, setting("Backfill: where finished runs leave their artifacts: a folder, or `s3://bucket/prefix`.")
    ] = None
    agent_comms_artifact_bytes: Annotated[Size, setting("Backfill: how much an artifact may unpack to, in bytes.")] = (
        8_589_934_592
    )
    agent_comms_url: Annotated[
        str | None, setting("Read: where the API is; without it messages are read from DATABASE_URL.")
    ] = None
    agent_comms_token: Annotated[str | None, setting("Read: the token that tells the API who asks.", secret=True)] = (
        None
    )
    agent_comms_retention_days: Annotated[Span, setting("Prune: how long messages are kept, in days.")] = 90
    agent_comms_audit_days: Annotated[Span, setting("Prune: how long the audit log says who did what, in days.")] = 400
    agent_comms_stale_minutes: Annotated[
        Span, setting("Web: a running run that has been silent for so long is shown as stale, in minutes.")
    ] = 15
    agent_comms_heartbeat_seconds: Annotated[
        Heartbeat, setting("Web: how often a quiet live connection says that it is alive, in seconds.")
    ] = 10
    agent_comms_stream_minutes: Annotated[
        Span, setting("Web: the longest life of a live connection; its client then comes again, in minutes.")
    ] = 30
    agent_comms_live_connections: Annotated[
        Count, setting("Web: how many live connections one process holds; who comes then is told to come again.")
    ] = 8_000
    agent_comms_log_format: Annotated[LogFormat, setting("How log lines are written.")] = "logfmt"
    agent_comms_log_level: Annotated[LogLevel, setting("The least level that is logged.")] = "info"

    def __repr__(self) -> str:
        """Show the settings that are no secrets."""
        hints = get_type_hints(type(self), include_extras=True)
        shown = (f.name for f in msgspec.structs.fields(self) if not _secret(hints[f.name]))
        return f"Settings({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings; an empty variable counts as absent.

        Raises:
            SettingError: a variable's value is not what its type takes.
        """
        environ = os.environ if environ is None else environ
        hints = get_type_hints(cls, include_extras=True)
        values: dict[str, Any] = {}
        for field in msgspec.structs.fields(cls):
            text = environ.get(field.name.upper(), "").strip()
            if text:
                values[field.name] = _parse(field.name, hints[field.name], text)
        return cls(**values)


def _meta(hint: Any) -> Meta:
    metas = [m for m in hint.__metadata__ if isinstance(m, Meta) and m.description]
    return metas[-1]


def _secret(hint: Any) -> bool:
    return bool((_meta(hint).extra or {}).get("secret"))


def secret_variables() -> list[str]:
    """Return the variables whose values are never shown."""
    hints = get_type_hints(Settings, include_extras=True)
    return [f.name.upper() for f in msgspec.structs.fields(Settings) if _secret(hints[f.name])]


def _parse(name: str, hint: Any, text: str) -> Any:
    try:
        return msgspec.convert(text, hint, strict=False, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as error:
        got = "a value (not shown)" if _secret(hint) else repr(text)
        message = f"{name.upper()}: {takes(hint)}, but got {got}"
        raise SettingError(message) from error


def takes(hint: Any) -> str:
    """Say in words what a setting takes."""
    kind = msgspec.json.schema(hint, schema_hook=lambda _: {"type": "string"})
    kind = kind.get("$defs", {}).get("", kind)
    for choice in kind.get("anyOf", []):
        if choice.get("type") != "null":
            kind = {**kind, **choice}
    if "enum" in kind:
        return "it takes " + ", ".join(f"`{value}`" for value in kind["enum"] if value is not None)
    if kind.get("type") == "integer":
        low, high = kind.get("minimum"), kind.get("maximum")
        span = f" from {low} to {high}" if high is not None else f" of at least {low}"
        return f"it takes a whole number{span if low is not None else ''}"
    return "it takes text"


def table() -> str:
    """Return the settings as a Markdown table: variable, default, what it is for."""
    hints = get_type_hints(Settings, include_extras=True)
    lines = ["| variable | default | |", "| --- | --- | --- |"]
    for field in msgspec.structs.fields(Settings):
        default = "" if field.default in (None, "") else f"`{field.default}`"
        lines.append(f"| `{field.name.upper()}` | {default} | {_meta(hints[field.name]).description} |")
    return "\n".join(lines)
