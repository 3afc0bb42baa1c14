"""The cookie of whoever has signed in: it says who and until when, signed, and holds no token.

Its key is made of the digest of the reader's token, so that every process which reads the same file takes it, and
none does any longer once the token is another one. AGENT_COMMS_COOKIE_KEY goes into the key as well: with it, whoever
has read the file can still sign nothing.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from web.roster import Reader

# No cookie of ours is longer.
LONGEST = 2_000


class _Claim(Struct, frozen=True, array_like=True):
    name: str
    issued_at: int
    # However long a sign-in lasts by then: who is signed out need not be remembered any longer.
    expires_at: int
    session: str


class Session(Struct, frozen=True):
    """A sign-in.

    Attributes:
        id: no other has it, and no cookie can be made of it.
        reader: whose it is.
        until: when it ends by itself, a time since the epoch.
    """

    id: str
    reader: Reader
    until: float


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(_Claim)


class Cookies:
    """Signs and reads cookies.

    Args:
        secret: what their key is made of besides.
        life: how long they are good, in seconds.
    """

    def __init__(self, secret: str, life: int) -> None:
        self._secret = secret.encode()
        self.life = life

    def sign(self, reader: Reader, now: float) -> str:
        """Return a new cookie; no two are alike."""
        claim = _encode(_Claim(reader.name, int(now), int(now) + self.life, secrets.token_urlsafe(12)))
        return f"{_text(claim)}.{_text(self._mac(reader, claim))}"

    def name(self, cookie: str) -> str | None:
        """Return the name that a cookie claims."""
        claim = _read(cookie)
        return claim and claim[0].name

    def session(self, cookie: str, readers: Iterable[Reader], now: float) -> Session | None:
        """Return the sign-in of one of some readers that it stands for; None where it stands for none."""
        found = _read(cookie)
        if found is None:
            return None
        claim, signed, mac = found
        # A clock that is a little behind is no forgery.
        until = min(claim.expires_at, claim.issued_at + self.life)
        if not claim.issued_at - 60 <= now < until:
            return None
        for reader in readers:
            if hmac.compare_digest(mac, self._mac(reader, signed)) and reader.name == claim.name:
                return Session(claim.session, reader, float(until))
        return None

    def _mac(self, reader: Reader, claim: bytes) -> bytes:
        key = hmac.digest(self._secret, b"agent-comms cookie\0" + reader.digest, hashlib.sha256)
        return hmac.digest(key, claim, hashlib.sha256)


def _read(cookie: str) -> tuple[_Claim, bytes, bytes] | None:
    if len(cookie) > LONGEST:
        return None
    claim, _, mac = cookie.partition(".")
    try:
        signed, signature = _bytes(claim), _bytes(mac)
        return _decoder.decode(signed), signed, signature
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
