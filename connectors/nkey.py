"""NKeys: the seed that a user keeps, and the public key by which a server knows it."""

import secrets
from pathlib import Path

import nkeys

from connectors.private import write_private


class NkeyError(ValueError):
    """A file holds no seed; the text is one line."""


def new_seed() -> str:
    """Return the seed of a user that nobody knows yet."""
    seed: bytes = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
    return seed.decode("ascii")


def public_key(seed: str) -> str:
    """Return the public key that belongs to a seed.

    Raises:
        NkeyError: it is no seed.
    """
    try:
        key: bytes = nkeys.from_seed(bytearray(seed.strip().encode())).public_key
    except (nkeys.NkeysError, ValueError) as error:
        message = "this is no NKey seed"
        raise NkeyError(message) from error
    return key.decode("ascii")


def keep(path: Path) -> str:
    """Return the public key of the seed in a file; the file is made, for its owner alone, where it is missing.

    Raises:
        NkeyError: the file holds something else.
        OSError: it can't be read or written.
    """
    if not path.exists():
        write_private(path, new_seed() + "\n")
    try:
        return public_key(path.read_text(encoding="ascii", errors="replace"))
    except NkeyError as error:
        message = f"{path}: {error}"
        raise NkeyError(message) from error
