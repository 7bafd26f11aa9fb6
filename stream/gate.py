"""Decides which content frames hold sound, so that silence costs nothing and stays silent."""

import numpy as np
from numpy.typing import NDArray

from stream.audio import SILENCE_DB, Audio, sin2_rise

Open = NDArray[np.bool_]

HANGOVER_FRAMES = 15  # content frames, 300 ms: pauses between words stay open
HYSTERESIS_DB = 6.0


class Gate:
    """Opens early, closes late.

    One level goes in per content frame and one decision comes out, `lead` frames behind: the first
    `lead` decisions are for the time before the stream and always closed.

    - Frame k is open when one of the frames k .. k + lead is sounding, so a soft onset is kept.
    - Sounding begins at the threshold, and ends `hangover` frames after the last frame that was
      not 6 dB below it.
    - Digital silence never sounds, however low the threshold: silence in, silence out.

    Levels may come in any cuts; the decisions are the same.
    """

    def __init__(self, lead: int, hangover: int = HANGOVER_FRAMES) -> None:
        if lead < 0 or hangover < 0:
            raise ValueError(f"lead and hangover must not be negative, got {lead} and {hangover}")
        self.lead = lead
        self.hangover = hangover
        self.reset()

    def step(self, levels: Audio, threshold_db: float) -> Open:
        """Decisions [n], each `lead` frames older than the level (dBFS) in `levels` [n]."""
        opened = np.zeros(len(levels), np.bool_)
        for i, level in enumerate(levels):
            self._frame += 1
            if self._sounds(float(level), threshold_db):
                self._closes = self._frame + self.lead
            opened[i] = self._frame <= self._closes
        return opened

    def _sounds(self, level: float, threshold_db: float) -> bool:
        """Whether the newest frame is sounding, hangover included."""
        if level <= SILENCE_DB:
            loud = False
        elif self._left >= 0:
            loud = level >= threshold_db - HYSTERESIS_DB
        else:
            loud = level >= threshold_db
        self._left = self.hangover if loud else max(self._left - 1, -1)
        return self._left >= 0

    def change_lead(self, lead: int) -> Open:
        """Decide another distance behind; the decisions [old - new] that are due at once.

        When the lead grows, the next old - new decisions repeat earlier ones.
        """
        sounding = self._closes - self.lead  # the newest frame that did, hangover included
        behind = range(self._frame + 1 - self.lead, self._frame + 1 - lead)
        self.lead, self._closes = lead, sounding + lead
        return np.array([frame <= sounding for frame in behind], np.bool_)

    def reset(self) -> None:
        """Forget the past; the next level is the stream's first."""
        self._frame = -1
        self._closes = -1  # newest frame whose decision, `lead` frames behind it, is open
        self._left = -1  # frames of hangover left; -1 is not sounding


def needed(opened: Open, before: bool) -> Open:
    """Frames that are heard, [n]: the open ones, and the first closed one, in which sound fades.

    opened [n]  decisions; before  the decision for the frame before them
    """
    return opened | np.concatenate([[before], opened[:-1]])[: len(opened)]


def edges(opened: Open, before: bool, frame: int, fade: int) -> Audio:
    """Gain per sample, [n * frame]: 1 in open frames and 0 in closed ones, without a click.

    opened [n]  decisions; before  the decision for the frame before them; frame, fade  samples

    It rises along sin² over the first `fade` samples of an open frame that follows a closed one,
    and falls over the first `fade` samples of a closed frame that follows an open one. However
    the frames are cut into calls, the gain is the same.
    """
    if not 0 <= fade <= frame:
        raise ValueError(f"fade must be within 0..{frame} samples, got {fade}")
    if before and opened.all():  # as it is nearly always
        return np.ones(len(opened) * frame, np.float32)
    past = np.concatenate([[before], opened[:-1]])[: len(opened)]
    out = np.repeat(opened.astype(np.float32)[:, None], frame, axis=1)
    rise = sin2_rise(fade)
    out[opened & ~past, :fade] = rise
    out[~opened & past, :fade] = rise[::-1]
    return out.reshape(-1)
