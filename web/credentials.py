"""The credentials of a secure local set-up: who each user is at NATS, and whom it trusts."""

import shlex
from pathlib import Path

from connectors import nkey
from connectors.authority import ServerCertificate, keep
from connectors.embedded import NatsSecurity
from connectors.loopback import HOST
from connectors.private import write_private
from flows import topology
from flows.users import USERS, User

HOSTS = (HOST, "localhost")


class Credentials:
    """A folder with a seed, a file of settings and an authority for every user; made where it is missing.

    What is there is kept, so that whoever has been given a credential gets in after a restart, too.

    Args:
        folder: for its owner alone.

    Raises:
        OSError: it can't be written.
        NkeyError: a seed was overwritten with something else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._keys = {user.name: nkey.keep(self._seed_file(user)) for user in USERS}
        self._certificate: ServerCertificate = keep(self.folder, HOSTS)

    def _seed_file(self, user: User) -> Path:
        return self.folder / f"{user.name}.nk"

    def env_file(self, user: User) -> Path:
        """Return where a user's settings are."""
        return self.folder / f"{user.name}.env"

    def server(self) -> NatsSecurity:
        """Return what makes a server know these users and nobody else."""
        lines = []
        for user in USERS:
            now, following = user.key_variables
            # Nobody has the seed of the key that comes next: here a credential is exchanged by removing its file.
            lines += [f"{now}: {self._keys[user.name]}", f"{following}: {nkey.public_key(nkey.new_seed())}"]
        keys = "\n".join(lines) + "\n"
        return NatsSecurity(topology.ACCOUNTS, keys, self._certificate.cert, self._certificate.key)

    def settings(self, user: User, url: str) -> dict[str, str]:
        """Return by which settings a user reaches a server at a URL."""
        return {
            "NATS_URL": url,
            "NATS_NKEY_SEED_FILE": str(self._seed_file(user)),
            "NATS_CA_FILE": str(self._certificate.ca),
            **user.settings(),
        }

    def tell(self, url: str, web: str) -> None:
        """Write each user's settings as lines of KEY=value, whole from the first moment.

        Args:
            url: of the server.
            web: where what was said is read, which is by nobody's user at NATS.
        """
        for user in USERS:
            told = {"AGENT_COMMS_URL": web, **self.settings(user, url)}
            lines = [f"{name}={shlex.quote(value)}\n" for name, value in told.items()]
            write_private(self.env_file(user), "".join(lines))
