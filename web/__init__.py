"""Flask: pages, API, the live hub, and the commands."""
