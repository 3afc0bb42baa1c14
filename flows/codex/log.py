"""An agent's log: each line that is not blank is something it said."""

from flows.codex.pem import hide
from flows.codex.said import Said
from flows.codex.state import State


def read(data: bytes, state: State) -> list[Said]:
    """Return what a line says."""
    text, state.key = hide(data.decode("utf-8", "replace").rstrip(), state.key)
    return [Said("message", "assistant", text)] if text else []
