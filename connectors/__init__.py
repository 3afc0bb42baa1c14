"""Protocols, and nothing of the domain: JetStream, Postgres, artifacts, embedded servers."""
