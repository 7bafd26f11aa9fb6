"""What a server knows once its default voice can speak."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Warm:
    """What the default voice runs on, and how far behind it is in each profile at 48 kHz."""

    providers: dict[str, str]  # by device, as configured
    latencies: dict[str, float]  # milliseconds
    why: dict[str, str] = field(default_factory=dict[str, str])  # by device, why that provider

    @property
    def provider(self) -> str:
        """Of all devices."""
        return ", ".join(self.providers.values())


@dataclass(frozen=True)
class Running:
    """A server that is ready."""

    url: str
    voice: str
    warm: Warm
