"""Tokens: who may use the server, and how much. A file of hashes, kept by `timbral tokens`.

A token has 256 random bits, so what the file keeps of it is one SHA-256: nobody can try them all,
however fast the hash. A slow hash such as scrypt is for passwords, which people choose; here it
would only let a stranger cost the server tens of milliseconds a request, beside live streams.
"""

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from server.protocol import VoiceName
from stream.errors import ConfigError

PREFIX: Final = "timbral_"  # so that scanners for leaked secrets can tell one
SECRET_BYTES: Final = 32
MOST_TOKENS: Final = 10_000
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]


class Token(BaseModel):
    """What is known of a token: not the token itself.

    voices  that it may speak with; None is all
    expires  the last day, UTC, on which it is good
    minutes_per_day  of open streams, all together, UTC
    upload_bytes  of one voice that it may add; 0 is none
    max_jobs  that may wait or run; None is the server's, 0 is none
    operator  may see /metrics and everybody's jobs, and delete voices
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: Name
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    made: date
    expires: date | None = None
    voices: tuple[VoiceName, ...] | None = None
    max_streams: int | None = Field(default=None, ge=1)
    minutes_per_day: float | None = Field(default=None, gt=0)
    upload_bytes: int = Field(default=0, ge=0)
    max_jobs: int | None = Field(default=None, ge=0)
    operator: bool = False

    @model_validator(mode="after")
    def _whole(self) -> "Token":
        if self.upload_bytes and self.voices is not None:
            raise ValueError("a token that may add voices must be for all voices")
        return self

    def good(self, today: date) -> bool:
        """Whether it has not expired."""
        return self.expires is None or today <= self.expires


class TokenFile(BaseModel):
    """The file as it stands on the disk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    tokens: tuple[Token, ...] = Field(default=(), max_length=MOST_TOKENS)

    @model_validator(mode="after")
    def _unique(self) -> "TokenFile":
        if len({token.name for token in self.tokens}) < len(self.tokens):
            raise ValueError("two tokens have one name")
        return self


def new_secret() -> str:
    """A token that nobody has."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: str) -> str:
    """What is kept of a token: SHA-256 of its UTF-8, hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def make_token(name: str, secret: str, *, days: int | None, **rights: Any) -> Token:
    """The token `name` for `secret`, good for so many days from today on.

    rights  other fields of `Token`

    Raises `ConfigError` for what cannot be.
    """
    today = datetime.now(timezone.utc).date()
    try:
        expires = None if days is None else today + timedelta(days=days)
        return Token(name=name, sha256=digest(secret), made=today, expires=expires, **rights)
    except ValidationError as error:
        raise ConfigError(f"No token was made: {error.errors()[0]['msg']}.") from error
    except OverflowError as error:
        raise ConfigError(f"No token was made: {error}.") from error


def find(given: str, tokens: Iterable[Token]) -> Token | None:
    """The token that `given` is.

    Law: the time it takes does not tell which token matched, or how nearly: every one is compared,
    as a digest, and none is left out after a match.
    """
    wanted, found = digest(given), None
    for token in tokens:
        if hmac.compare_digest(wanted, token.sha256):
            found = token
    return found


def same_token(given: str | None, expected: str) -> bool:
    """Whether both are equal, in a time that tells nothing about them, their length included."""
    return hmac.compare_digest(digest(given or ""), digest(expected))


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens in the file at `path`. Raises `ConfigError` when it is no such file, or when
    others could have written it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read()
    except OSError as error:
        raise ConfigError(
            f"The tokens at {path} cannot be read: {error.strerror or error}. "
            "Make one with `timbral tokens add NAME --file PATH`."
        ) from error
    if os.name == "posix" and mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"Others may write {path}: chmod 600 {path}")
    try:
        return TokenFile.model_validate_json(data).tokens
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path} is no file of tokens: {where} {first['msg']}.") from error


def write_tokens(path: Path, tokens: Iterable[Token]) -> None:
    """Write the file whole, or leave what was there; only its owner may read it."""
    write_beside(path, TokenFile(tokens=tuple(tokens)).model_dump_json(indent=1) + "\n")


def write_beside(path: Path, text: str) -> None:
    """Write the file whole, or leave what was there; its owner alone may read it."""
    beside = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=path.parent, prefix=".beside-", delete=False) as file:
            beside = file.name  # made with mode 600
            file.write(text)
        os.replace(beside, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        if beside:
            Path(beside).unlink(missing_ok=True)


def add_token(path: Path, token: Token) -> None:
    """Add to the file at `path`, or begin it. Raises `ConfigError` when the name is taken."""
    held = read_tokens(path) if path.exists() else ()
    if token.name in {each.name for each in held}:
        raise ConfigError(f"There is a token '{token.name}' already; remove it first.")
    write_tokens(path, (*held, token))


def remove_token(path: Path, name: str) -> None:
    """Remove from the file at `path`; raises `ConfigError` when there is none of that name."""
    held = read_tokens(path)
    left = [token for token in held if token.name != name]
    if len(left) == len(held):
        known = ", ".join(token.name for token in held) or "none"
        raise ConfigError(f"No token '{name}' in {path}. There are: {known}.")
    write_tokens(path, left)
