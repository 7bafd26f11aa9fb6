"""A server whose voices change nothing but loudness: `python halver.py PORT [TOKEN [DRAIN_S]]`.

It is the real server around a trivial conversion, so that what comes back can be compared with what
went out, sample by sample: ada is -0.5 of what is said, ben 0.25, and every 12 semitones double it.
The environment may set more (`TIMBRAL_REPLICA`). Prints a line when it is ready. From SIGUSR1 to
SIGUSR2 it takes longer hops, as under pressure.
"""

import asyncio
import os
import signal
import sys

import numpy as np
from calls import FakeConversion, FakeVoices

from server.config import ServerConfig
from server.line import Opened
from server.protocol import Start
from server.room import Room
from server.service import run
from server.settings import load_config
from stream.audio import Audio
from stream.controls import Controls
from stream.ladder import STEPS, Step

GAINS = {"ada": -0.5, "ben": 0.25, "slow": 1.0}
HOP_S, LAG_S = 0.02, 0.04


class Halver(FakeConversion):
    """Multiplies by the voice's gain, `lag_s` after a hop of `hop_s` is complete."""

    def __init__(
        self,
        rate: int,
        voice: str,
        controls: Controls,
        *,
        hop_s: float = HOP_S,
        lag_s: float = LAG_S,
    ) -> None:
        super().__init__(hop=round(hop_s * rate), lag=round(lag_s * rate))
        self.voice = voice
        self.controls = controls

    def step(self, block: Audio) -> Audio:
        gain = GAINS[self.voice] * 2.0 ** (self.controls.pitch / 12.0)
        out = super().step(np.float32(-gain) * block)  # which turns the sign
        self.blocks.clear()
        return out


class HalvingVoices(FakeVoices):
    """ada and ben; slow cannot be changed to while talking."""

    def open(self, start: Start, device: str, step: Step = STEPS[0]) -> Opened:
        del step  # its conversions take up what is given up with their first hop
        self.load(start.voice, device)
        controls = Controls(**start.controls.model_dump(exclude_none=True))
        halver = Halver(start.sample_rate, start.voice, controls)
        return Opened(halver, "Numpy", "low", "")


def halving(_config: ServerConfig) -> HalvingVoices:
    """The voices for a server of a cluster."""
    return HalvingVoices()


def main(port: int, token: str | None = None, drain_s: str = "5") -> None:
    """Serve until killed."""
    environment = {"TIMBRAL_MAX_STREAMS": "16", **os.environ}
    own = {
        "port": port,
        "voice": "ada",
        "workers": 1,
        "token": token or None,
        "drain_s": float(drain_s),
    }
    config = load_config(None, environment, own)

    if sys.platform != "win32":
        for number, step in ((signal.SIGUSR1, STEPS[3]), (signal.SIGUSR2, STEPS[0])):
            signal.signal(number, lambda _number, _frame, step=step: setattr(Room, "step", step))

    def announce(_running: object) -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    asyncio.run(run(config, HalvingVoices, announce))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:4])
