"""How a client that lost its connection finds its stream again: by a secret of the stream's own."""

import hashlib
import secrets
from typing import Generic, Protocol, TypeVar

from server.protocol import Start

SECRET_BYTES = 16


class Stream(Protocol):
    """What a client may come back to: `server.session.Session`."""

    def claim(self, start: Start, /) -> bool:
        """Wait for a new connection, whatever the old one does. False when it cannot go on."""
        ...


S = TypeVar("S", bound=Stream)


class Tickets(Generic[S]):
    """The secrets of all streams that can be resumed, as digests.

    replica  the name of this server among several; every secret begins with it and a dot, so that
             a client can say in the address which of them has its stream

    Laws: a secret opens its own stream only; one that was followed by another, which the client
    has used, opens nothing; nor does one whose stream is over.
    """

    def __init__(self, replica: str = "") -> None:
        self._prefix = f"{replica}." if replica else ""
        self._tickets: dict[bytes, Ticket[S]] = {}

    def __len__(self) -> int:
        return len(self._tickets)

    def secret(self) -> str:
        """One that nobody has."""
        return self._prefix + secrets.token_urlsafe(SECRET_BYTES)

    def find(self, secret: str) -> "Ticket[S] | None":
        """The one that `secret` is for."""
        return self._tickets.get(_digest(secret))

    def keep(self, ticket: "Ticket[S]", secret: str) -> bytes:
        """From now on `secret` is for `ticket`; returns by what to forget it."""
        digest = _digest(secret)
        self._tickets[digest] = ticket
        return digest

    def forget(self, digest: bytes) -> None:
        """A secret is for nothing any more."""
        self._tickets.pop(digest, None)


class Ticket(Generic[S]):
    """One conversation's secrets: the one in use, and one offered but not yet used.

    A connection may break again before the client has heard of a new secret: until it has, the old
    one holds as well.
    """

    def __init__(self, tickets: Tickets[S]) -> None:
        self._tickets = tickets
        self._used: bytes | None = None
        self._offered: bytes | None = None
        self.stream: S | None = None  # that it is for
        self.claimed: S | None = None  # another one, that this conversation is to go on with

    def offer(self) -> str:
        """A new secret, to be told to the client."""
        self._forget(self._offered)
        secret = self._tickets.secret()
        self._offered = self._tickets.keep(self, secret)
        return secret

    def confirm(self) -> None:
        """The client has the secret offered last: those before are void."""
        if self._offered is not None:
            self._forget(self._used)
            self._used, self._offered = self._offered, None

    def claim(self, start: Start) -> bool:
        """Whether the stream of the secret in `start` waits for this client."""
        secret = start.resume or ""
        other = self._tickets.find(secret)
        if other is None or other.stream is None or not other.stream.claim(start):
            return False
        if _digest(secret) == other._offered:  # so the client has it
            other.confirm()
        self.claimed = other.stream
        return True

    def tear(self) -> None:
        """The stream is over."""
        self._forget(self._used)
        self._forget(self._offered)
        self._used = self._offered = None

    def _forget(self, digest: bytes | None) -> None:
        if digest is not None:
            self._tickets.forget(digest)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
