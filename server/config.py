"""Settings of the server. Seconds and bytes here, samples in a stream."""

import ipaddress
import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict

from server.protocol import MAX_AUDIO, MAX_TEXT
from stream.device import Device, parse_devices
from stream.errors import ConfigError

LogStyle = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one connection may ask of the server, and how long anything may wait. The text beside a
    setting is what docs/configuration.md says of it.

    Raises `ConfigError` for a limit that is not above 0.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    text_bytes: Annotated[int, "a text frame"] = MAX_TEXT
    audio_bytes: Annotated[int, "a binary frame"] = MAX_AUDIO
    start_s: Annotated[float, "from connecting to `start`"] = 10.0
    idle_s: Annotated[float, "without any message"] = 60.0
    blocked_s: Annotated[float, "one message that the client does not take off the line"] = 10.0
    inbox_s: Annotated[float, "audio that waits for conversion; past it the socket is not read"] = (
        1.0
    )
    outbox_s: Annotated[float, "audio that waits for the client; past it the oldest is dropped"] = (
        1.0
    )
    max_late_s: Annotated[float, "audio that waits longer than this past its time is dropped"] = 0.3
    resume_s: Annotated[float, "that a stream waits for its client when the connection broke"] = (
        10.0
    )
    short_gap_s: Annotated[float, "a longer jump of `position` resets the stream's memory"] = 0.5
    stats_s: Annotated[float, "between two `stats`"] = 1.0
    faults_per_minute: Annotated[
        int, "bad messages that are answered; one more ends the stream"
    ] = 60
    failed_hops: Annotated[int, "failures of the conversion in a row that end the stream"] = 3
    texts: Annotated[int, "answers that wait for the client; past it the socket is not read"] = 256
    upload_bytes: Annotated[int, "of one voice with its index"] = 1 << 30
    upload_pause_s: Annotated[float, "without any byte of an upload"] = 30.0
    upload_bytes_per_s: Annotated[
        int, "an upload that is slower than this, on the whole, is given up"
    ] = 8192
    import_s: Annotated[float, "for making a voice of what was uploaded"] = 180.0
    convert_bytes: Annotated[int, "a file that is to be converted"] = 256 << 20
    convert_s: Annotated[float, "for converting it"] = 600.0
    song_bytes: Annotated[int, "a song that is to become a cover"] = 512 << 20
    header_s: Annotated[
        float, "for a request to arrive, and for which a connection without one is kept"
    ] = 15.0
    handshake_s: Annotated[float, "for the TLS handshake"] = 10.0
    connections: Annotated[int, "open at once; at least 8 a stream"] = 1024
    connections_an_address: Annotated[int, "the same from one address; at least 2 a stream"] = 256
    wrong_tokens_per_minute: Annotated[
        int, "of one address; then it is refused for a minute whatever it brings"
    ] = 10

    def __post_init__(self) -> None:
        for each in fields(self):
            if not getattr(self, each.name) > 0:
                raise ConfigError(f"limits.{each.name} must be above 0.")


def cores() -> int:
    """Processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Raises `ConfigError` for a setting that cannot be. The text beside a setting is what
    docs/configuration.md says of it; a second one is how its default is told.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    host: Annotated[str, "the address to listen on"] = "127.0.0.1"
    port: Annotated[int, "0 takes any free one"] = 8765
    voice: Annotated[str, "loaded and warmed at start"] = "starter"
    device: Annotated[
        str,
        "what the models run on: `timbral serve --help` lists it; several have commas, and a "
        "stream goes to the one with the most time left",
    ] = "auto"
    home: Annotated[Path | None, "where voices live; the user's data folder if not given"] = None
    token: Annotated[str | None, "one token for all clients; 8 characters or more"] = None
    tokens: Annotated[
        Path | None,
        "the file of `timbral tokens add`: a token for each client, with limits of its own",
    ] = None
    cert: Annotated[Path | None, "TLS: certificate and its chain, PEM; read anew on change"] = None
    key: Annotated[Path | None, "TLS: its private key, PEM"] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        "names that it may be asked by, besides those of this machine: a proxy's, say",
    ] = ()
    proxies: Annotated[
        tuple[str, ...], "addresses whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed"
    ] = ()
    replica: Annotated[
        str, "its name among several servers behind one address: letters, digits, `-` and `_`"
    ] = ""
    workers: Annotated[int, "threads that convert", "one a core"] = field(default_factory=cores)
    batch: Annotated[int, "hops converted together at most; on a GPU 32, unless it is 1"] = 8
    max_streams: Annotated[
        int, "streams at once at most; fewer when what is measured leaves no room for more"
    ] = 64
    max_jobs: Annotated[
        int, "covers of one client that wait or are being made; 0 takes none at all"
    ] = 4
    easing: Annotated[bool, "under pressure, find the pitch the light way and take longer hops"] = (
        True
    )
    drain_s: Annotated[float, "for streams to come to their own end after SIGTERM"] = 5.0
    grace_s: Annotated[float, "for streams to be flushed when the server stops"] = 2.0
    log: Annotated[LogStyle, "lines for people, or one JSON object a line"] = "text"
    log_level: Annotated[LogLevel, "the least that is logged"] = "info"
    audit: Annotated[
        Path | None, "a file for who did what, as JSON lines; in the log if not given"
    ] = None
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        parse_devices(self.device)
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port must be within 0..65535, got {self.port}.")
        if self.workers < 1 or self.max_streams < 1 or self.batch < 1:
            raise ConfigError("workers, max_streams and batch must be 1 or more.")
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,32}", self.replica):
            raise ConfigError(
                f"'{self.replica}' is no name of a replica: 32 letters, digits, - and _ at most."
            )
        if self.max_jobs < 0:
            raise ConfigError("max_jobs must be 0 or more.")
        if self.drain_s < 0 or self.grace_s < 0:
            raise ConfigError("drain_s and grace_s must be 0 or more.")
        if self.token is not None and len(self.token) < 8:
            raise ConfigError("The token must have 8 characters or more.")
        if (self.cert is None) != (self.key is None):
            raise ConfigError("TLS needs both cert and key; give the two, or none.")
        public = [host for host in self.allowed_hosts if host not in LOCAL_NAMES]
        if self.reachable_by_all and not self.asks_for_token:
            raise ConfigError(
                f"{public[0] if self.loopback else self.host} can be reached from other machines: "
                "set a token that clients must send (`--token`, or `--tokens` with the file of "
                "`timbral tokens add`), or bind 127.0.0.1."
            )

    @property
    def devices(self) -> tuple[Device, ...]:
        """What the models run on: each device loads its own, and converts its own streams."""
        return parse_devices(self.device)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server itself."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def reachable_by_all(self) -> bool:
        """Whether others can reach it: by its address, or by a name that a proxy serves."""
        return not self.loopback or not LOCAL_NAMES.issuperset(self.allowed_hosts)

    @property
    def asks_for_token(self) -> bool:
        """Whether clients must say who they are."""
        return self.token is not None or self.tokens is not None
