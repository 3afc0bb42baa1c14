"""The users of the NATS server: what each has to set so that what gitops/nats/accounts.conf permits is what it does."""

from msgspec import Struct


class User(Struct, frozen=True):
    """One that connects to NATS.

    Attributes:
        name: as credentials are called.
        inbox_prefix: first tokens of the inboxes that it may listen on.
        js_api_prefix: where it finds the JetStream API.
    """

    name: str
    inbox_prefix: str = "_INBOX"
    js_api_prefix: str = "$JS.API"

    @property
    def key_variables(self) -> tuple[str, str]:
        """Return how accounts.conf calls its public keys: the one in use, and the one that comes next."""
        return f"{self.name.upper()}_KEY", f"{self.name.upper()}_NEXT_KEY"

    def settings(self) -> dict[str, str]:
        """Return what differs from the defaults of the settings, by variable."""
        return {
            f"NATS_{name.upper()}": getattr(self, name)
            for name in ("inbox_prefix", "js_api_prefix")
            if getattr(self, name) != getattr(User(self.name), name)
        }


# Creates the stream and the consumer: NACK, or `agent-comms bootstrap`.
SYSTEM = User("system")
# The runtimes of the namespace `agents`.
AGENTS = User("agents", inbox_prefix="_INBOX_agents")
# The ingest flow.
JANGAR = User("jangar", inbox_prefix="_INBOX_jangar", js_api_prefix="JS.comms.API")
# The pages.
WEB = User("web", inbox_prefix="_INBOX_web")
USERS = (SYSTEM, AGENTS, JANGAR, WEB)
