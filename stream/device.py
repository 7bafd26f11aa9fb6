"""What models run on, as people name it. Light: what ONNX Runtime makes of it is in
`stream.models.providers`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from stream.errors import ConfigError

Kind = Literal["auto", "cpu", "cuda", "tensorrt", "directml", "coreml", "openvino"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NUMBERED: frozenset[Kind] = frozenset({"cuda", "tensorrt", "directml"})
MOST_INDEX = 63
GRAMMAR = f"one of {', '.join(KINDS)}; {', '.join(k for k in KINDS if k in NUMBERED)} take a number"


@dataclass(frozen=True)
class Device:
    """A processor or a GPU.

    index  which one of its kind, from 0, for the kinds that are `NUMBERED`

    Law: `Device.parse(str(device)) == device`.

    >>> Device.parse("cuda:1"), str(Device.parse("cuda:0"))
    (Device(kind='cuda', index=1), 'cuda')
    """

    kind: Kind
    index: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.index <= (MOST_INDEX if self.kind in NUMBERED else 0):
            raise ValueError(f"there is no number {self.index} of {self.kind}")

    @classmethod
    def parse(cls, text: str) -> "Device":
        """The device of that name; raises `ConfigError` for any other text."""
        name, colon, number = text.strip().partition(":")
        kinds: dict[str, Kind] = {kind: kind for kind in KINDS}
        kind = kinds.get(name)
        numbered = number.isascii() and number.isdigit() and int(number[:9]) <= MOST_INDEX
        if kind is None or (colon and not (kind in NUMBERED and numbered)):
            raise ConfigError(f"device must be {GRAMMAR} (cuda:1 is the second GPU), got {text!r}.")
        return cls(kind, int(number) if colon else 0)

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.index else self.kind


AUTO, CPU = Device("auto"), Device("cpu")


def parse_devices(text: str) -> tuple[Device, ...]:
    """The devices of a list with commas, each once.

    Raises `ConfigError` for one that is there twice, and for `auto` beside others, as nobody could
    say which it would be.

    >>> [str(device) for device in parse_devices("cuda:0, cuda:1, cpu")]
    ['cuda', 'cuda:1', 'cpu']
    """
    devices = tuple(Device.parse(name) for name in text.split(","))
    twice = [str(device) for device in devices if devices.count(device) > 1]
    if twice:
        raise ConfigError(f"device names {twice[0]} twice; name each once: {text!r}.")
    if AUTO in devices and len(devices) > 1:
        raise ConfigError(f"device is a list or auto, not both: {text!r}.")
    return devices
