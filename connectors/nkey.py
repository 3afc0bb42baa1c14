"""NKeys: the seed that a user keeps, and the public key by which a server knows it.

`python -m connectors.nkey FILE` keeps a seed in a file, where there is none yet, and prints its public key.
"""

import secrets
import sys
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


def main(words: list[str]) -> str:
    """Print the public key of the one file that is named; returns what is wrong."""
    if len(words) != 1:
        return "usage: python -m connectors.nkey FILE"
    try:
        sys.stdout.write(keep(Path(words[0])) + "\n")
    except (NkeyError, OSError) as error:
        return f"nkey: {error}"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
