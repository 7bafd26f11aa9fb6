"""Settings of the server. Seconds and bytes here, samples in a stream."""

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from server.protocol import MAX_AUDIO, MAX_TEXT
from stream.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one connection may ask of the server, and how long anything may wait."""

    text_bytes: int = MAX_TEXT
    audio_bytes: int = MAX_AUDIO
    start_s: float = 10.0  # from connecting to `start`
    idle_s: float = 60.0  # without any message
    blocked_s: float = 10.0  # one message that the client does not take off the line
    inbox_s: float = 1.0  # audio that waits for conversion; past it the socket is not read
    outbox_s: float = 1.0  # audio that waits for the client; past it the oldest is dropped
    max_late_s: float = 0.3  # audio that waits longer than this past its time is dropped
    short_gap_s: float = 0.5  # a longer jump of `position` resets the stream's memory
    stats_s: float = 1.0
    faults_per_minute: int = 60  # bad messages that are answered; one more ends the stream
    failed_hops: int = 3  # failures of the conversion in a row that end the stream
    upload_bytes: int = 1 << 30  # of one voice with its index
    upload_pause_s: float = 30.0  # without any byte of an upload
    import_s: float = 180.0  # for making a voice of what was uploaded
    texts: int = 256  # answers that wait for the client; past it the socket is not read


def cores() -> int:
    """Processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Raises `ConfigError` for a setting that cannot be."""

    host: str = "127.0.0.1"
    port: int = 8765  # 0: any free one
    token: str | None = None  # asked of every client; needed off loopback
    voice: str = "starter"  # loaded and warmed at start
    device: str = "auto"  # of `stream.models.onnx.DEVICES`
    home: Path | None = None  # where voices live; None: the user's place for it
    workers: int = field(default_factory=cores)  # threads that convert
    max_streams: int = field(default_factory=lambda: 2 * cores())
    grace_s: float = 2.0  # for streams to end when the server is told to stop
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port must be within 0..65535, got {self.port}.")
        if self.workers < 1 or self.max_streams < 1:
            raise ConfigError("workers and max_streams must be 1 or more.")
        if self.token is not None and len(self.token) < 8:
            raise ConfigError("The token must have 8 characters or more.")
        if not self.loopback and self.token is None:
            raise ConfigError(
                f"{self.host} can be reached from other machines: set a token that clients must "
                "send, or bind 127.0.0.1."
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
