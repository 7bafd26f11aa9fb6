"""The melody: what the voice shall sing, from the pitch that was heard."""

import numpy as np

from stream.audio import Audio
from stream.controls import Controls
from stream.gate import Open
from stream.pitch import PitchMatch, shift


class Melody:
    """Moves the speaker's f0 to where the voice shall sing it.

    match   follows the speaker's median pitch
    gaps    whether unvoiced frames get the last pitch instead of 0, as some voices were trained

    Law: what is said of a committed frame depends on the frames up to the end of its content
    frame, and is the same however the content frames are cut into calls.
    """

    def __init__(self, match: PitchMatch, gaps: bool) -> None:
        self.match, self._gaps = match, gaps
        self._last = np.float32(0.0)

    def step(self, heard: Audio, ahead: int, controls: Controls) -> tuple[Audio, Open]:
        """The pitch to sing and whether the frame was voiced, [T] each.

        heard [T] Hz, 0 unvoiced; the last `ahead` frames are provisional: they will come again
        """
        outside = (heard < controls.f0_min_hz) | (heard > controls.f0_max_hz)
        heard = np.where(outside, 0.0, heard).astype(np.float32)
        committed = len(heard) - ahead
        offset = np.full(len(heard), 0.0, np.float32)
        offset[:committed] = self.match.step(heard[:committed])
        offset[committed:] = self.match.offset
        move = controls.pitch + offset if controls.auto_pitch else controls.pitch
        sung = shift(heard, move)
        voiced = heard > 0.0
        return (self._filled(sung, committed) if self._gaps else sung), voiced

    def _filled(self, sung: Audio, committed: int) -> Audio:
        """`sung` with the last pitch known in every gap; before the first one the next, or 0."""
        known = np.concatenate([[self._last], sung])
        at = np.maximum.accumulate(np.where(known > 0.0, np.arange(len(known)), 0))
        filled = known[at][1:].astype(np.float32)
        if committed:
            self._last = filled[committed - 1]
        return filled
