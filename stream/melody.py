"""The melody: what the voice shall sing, from the pitch that was heard."""

import numpy as np

from stream.audio import Audio
from stream.controls import Controls
from stream.gate import Open
from stream.models.f0 import held, within
from stream.pitch import PitchMatch, autotune, shift


class Melody:
    """Moves the speaker's f0 to where the voice shall sing it.

    match   follows the speaker's median pitch
    gaps    whether unvoiced frames get the last pitch instead of 0, as some voices were trained

    Law: what is said of a committed frame depends on the frames up to the end of its content
    frame, and is the same however the content frames are cut into calls.
    """

    def __init__(self, match: PitchMatch, gaps: bool) -> None:
        self.match, self._gaps = match, gaps
        self._last = 0.0

    def step(self, heard: Audio, ahead: int, controls: Controls) -> tuple[Audio, Open]:
        """The pitch to sing and whether the frame was voiced, [T] each.

        heard [T] Hz, 0 unvoiced; the last `ahead` frames are provisional: they will come again
        """
        heard = within(heard, controls.f0_min_hz, controls.f0_max_hz)
        committed = len(heard) - ahead
        offset = np.full(len(heard), 0.0, np.float32)
        offset[:committed] = self.match.step(heard[:committed])
        offset[committed:] = self.match.offset
        move = controls.pitch + offset if controls.auto_pitch else controls.pitch
        sung = autotune(
            shift(heard, move),
            controls.autotune,
            controls.autotune_scale,
            controls.autotune_key,
        )
        return (self._filled(sung, committed) if self._gaps else sung), heard > 0.0

    def _filled(self, sung: Audio, committed: int) -> Audio:
        """`sung` with the last pitch known in every gap; before the first one, 0."""
        filled = held(sung, self._last)
        if committed:
            self._last = float(filled[committed - 1])
        return filled
