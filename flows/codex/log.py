"""An agent's log: each line that is not blank is something it said."""

from flows.codex.said import Said


def read(data: bytes) -> list[Said]:
    """Return what a line says."""
    text = data.decode("utf-8", "replace").rstrip()
    return [Said("message", "assistant", text)] if text else []
