"""One voice speaking in one stream: analysis audio in, the target's speech out."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray

from stream.audio import (
    ANALYSIS_RATE,
    CONTENT_HOP,
    FRAME_HOP,
    FRAMES_PER_CONTENT,
    Audio,
    gain,
    soft_limit,
)
from stream.controls import Controls, F0Method
from stream.gate import Open, edges, needed
from stream.loudness import Loudness
from stream.melody import Melody
from stream.models.content import Hearing
from stream.models.synth import Speaker, Speech
from stream.models.voice import Voice
from stream.pitch import PitchMatch
from stream.profiles import Profile
from stream.resample import Resampler
from stream.ring import Ring
from stream.stretch import Index, Stretch

LIGHT: tuple[F0Method, ...] = ("harmonic",)  # the detector that costs least
Lap = Callable[[str], AbstractContextManager[None]]
"""Called with a stage's name, times what runs inside; `stream.timing` has one."""

PitchCurve = Callable[[NDArray[np.float64]], Audio]
"""Called with times [n] in seconds of the input, gives the pitch there [n] in Hz, 0 unvoiced."""


def no_lap(_stage: str) -> AbstractContextManager[None]:
    """The `Lap` that times nothing."""
    return nullcontext()


class Line:
    """Converts content frame after content frame with one voice.

    voice     what to speak with
    profile   how far it hears around a frame
    formant   semitones by which the voice's resonances move
    rate      Hz of the sound that comes out
    heard     16 kHz audio on the stream's own clock; content frame `t` is [320 t, 320 t + 320)
    first     the first content frame to convert; the output's sample 0 is that frame's start
    match     follows the speaker's pitch
    skipped   samples at 16 kHz by which `heard` lags behind the stream's clock
    curve     the speaker's pitch, where it is known and need not be heard

    Laws: frames that the gate closes are exact zeros and cost no inference. Every stretch of
    speech starts from the same memory, whatever came before it. With a voice that takes any cut,
    the sound is the same however the frames are grouped into calls.

    Two clocks run here: frames heard, and frames said, of which a formant shift makes more or
    fewer (`Stretch`). Without one they are the same.
    """

    def __init__(
        self,
        voice: Voice,
        rate: int,
        heard: Ring,
        first: int,
        *,
        profile: Profile,
        formant: float,
        skipped: int,
        seed: int,
        match: PitchMatch,
        curve: PitchCurve | None = None,
        lap: Lap = no_lap,
    ) -> None:
        self._voice, self._heard, self._lap = voice, heard, lap
        self._curve, self._begin = curve, -skipped  # where the stream's clock has `heard`'s 0
        self._seed, self.profile = seed, profile
        self._origin = self._next = first
        self._stretch = Stretch(formant, voice.card.hop)
        self._frame = FRAMES_PER_CONTENT * voice.card.hop  # voice samples a content frame
        self._skip = round(skipped * self._stretch.rate / ANALYSIS_RATE)
        self._open = False  # the gate at the last frame
        self._awake = False  # whether the last frame was inferred
        self._hearing: Hearing | None = None
        self._speech: Speech | None = None
        self._loudness = Loudness()
        self._melody = Melody(match, gaps=voice.card.unvoiced == "interpolated")
        self._to_rate = Resampler(self._stretch.rate, rate)

    @property
    def formant(self) -> float:
        """Semitones by which the voice's resonances are moved."""
        return self._stretch.semitones

    @property
    def ahead(self) -> int:
        """Content frames that it must hear beyond the one that it says."""
        return self._voice.look_ahead(self.profile) + self._voice.synth.delay_frames

    @property
    def match(self) -> PitchMatch:
        """What follows the speaker's pitch."""
        return self._melody.match

    def step(self, opened: Open, controls: Controls) -> Audio:
        """Convert the next `len(opened)` content frames; returns what is ready, at `rate`."""
        awake = needed(opened, self._open)
        if self._voice.whole_hops:
            awake[:] = awake.any()
        begin = self._said(self._next)
        speech = np.zeros((self._said(self._next + len(opened)) - begin, self._frame), np.float32)
        for start, stop in runs(awake):
            if start > 0 or not self._awake:
                self._hearing = self._speech = None
            sound = self._speak(self._next + start, stop - start, controls)
            at = self._said(self._next + start) - begin
            speech[at : at + len(sound)] = sound
        origins = self._heard_at(begin, begin + len(speech)) - self._next
        out = self._faded(speech, opened, np.maximum(origins, 0))
        self._open, self._awake = bool(opened[-1]), bool(awake[-1])
        self._next += len(opened)
        with self._lap("output"):
            out = soft_limit(out * np.float32(gain(controls.output_gain_db)))
            cut = min(self._skip, len(out))
            self._skip -= cut
            return self._to_rate.step(out[cut:])

    def _said(self, frame: int) -> int:
        """How many content frames were said when `frame` begins."""
        return self._stretch.count(frame - self._origin)

    def _heard_at(self, first: int, until: int) -> Index:
        """The content frames heard when those said from `first` to `until` - 1 begin."""
        return self._origin + self._stretch.heard(first, until)

    def _faded(self, speech: Audio, opened: Open, origins: Index) -> Audio:
        """The frames said, [n, samples] -> [n * samples], with the gate's edges."""
        before = self._open
        gates = edges(opened[origins], before, self._frame, self._frame // 2)
        return speech.reshape(-1) * gates

    def _speak(self, first: int, n: int, controls: Controls) -> Audio:
        """[n] content frames heard from `first` on -> [frames said, samples]."""
        voice, begins = self._voice, self._hearing is None
        late = voice.synth.delay_frames
        since = first if begins else first + late
        until = first + n + late
        with self._lap("content"):
            plain = self._features(since, until)
        with self._lap("f0"):
            sung, voiced = self._f0(since, until, controls)
        ahead = len(plain) - (until - since)  # content frames that are provisional
        lead = 0 if begins else late
        begin, end = self._said(first), self._said(first + n)
        picked = self._heard_at(begin + lead, self._said(until + ahead)) - since
        picked = np.clip(picked, 0, len(plain) - 1)
        with self._lap("index"):
            features = self._retrieve(plain[picked], voiced.reshape(-1, 2)[picked], controls)
        with self._lap("synth"):
            sound = self._say(features, self._stretched(sung, begin + lead, since, len(picked)),
                              end + late - begin - lead, begin + lead, controls)  # fmt: skip
        sound = sound.reshape(-1, self._frame)
        if begins:
            sound = sound[late:]
        if controls.loudness == 0.0:
            self._loudness = Loudness()
            return sound
        heard = self._heard_at(begin, end)
        return self._loudness.step(self._levels(heard), sound, controls.loudness)

    def _features(self, since: int, until: int) -> Audio:
        """[n + p, dim] of the content frames since .. until - 1 and of provisional ones."""
        voice, ahead = self._voice, self._voice.look_ahead(self.profile)
        if self._hearing is None:
            self._hearing = voice.encoder.open(ahead, self.profile.context)
            past = max(0, since - self._hearing.warm)
            self._hearing.hear(self._listen(past, since + ahead))
        return self._hearing.step(self._listen(since + ahead, until + ahead))

    def _listen(self, since: int, until: int) -> Audio:
        return self._heard.read(since * CONTENT_HOP, until * CONTENT_HOP)

    def _f0(self, since: int, until: int, controls: Controls) -> tuple[Audio, Open]:
        """The pitch to sing [2 (n + p)] at 100 frames/s and where it is voiced."""
        delay, n = self._voice.look_ahead(self.profile), until - since
        if self._curve is not None:
            frames = np.arange(FRAMES_PER_CONTENT * since, FRAMES_PER_CONTENT * (until + delay))
            centres = FRAME_HOP * frames + FRAME_HOP // 2 + self._begin
            f0 = self._curve(centres / ANALYSIS_RATE)
        else:
            f0 = self._detected(since, until, delay, controls)
        if not self._voice.encoder.whole_hops:
            f0 = f0[: FRAMES_PER_CONTENT * n]  # nothing is said of what is ahead
        return self._melody.step(f0, len(f0) - FRAMES_PER_CONTENT * n, controls)

    def _detected(self, since: int, until: int, delay: int, controls: Controls) -> Audio:
        """f0 [2 (n + delay)] of the content frames from `since` on, as heard."""
        methods = LIGHT if self.profile.light_f0 else controls.f0_methods
        detector = self._voice.detectors.live(methods, controls.f0_blend)
        n, end = until - since, (until + delay) * CONTENT_HOP
        window = self._heard.read(end - detector.window(n, delay), end)
        return detector(window, n, delay, together=self._voice.whole_hops)

    def _stretched(self, f0: Audio, said: int, since: int, count: int) -> Audio:
        """The pitch of every 10 ms frame said: as much lower as it will be played faster."""
        pairs = FRAMES_PER_CONTENT
        at = self._stretch.heard(pairs * said, pairs * (said + count))
        at = np.clip(at - pairs * (since - self._origin), 0, len(f0) - 1)
        return (f0[at] / self._stretch.factor).astype(np.float32)

    def _say(self, features: Audio, f0: Audio, n: int, said: int, controls: Controls) -> Audio:
        """The sound of the first `n` content frames of those given."""
        if self._speech is None:
            self._speech = self._voice.synth.open(self._seed, self.profile.context)
            self._loudness = Loudness()
        if n == 0:
            return np.zeros(0, np.float32)
        last = len(self._voice.card.speakers) - 1
        who = Speaker(min(controls.speaker, last), min(controls.speaker_b, last), controls.morph)
        ahead = len(features) - FRAMES_PER_CONTENT * n
        first_frame = FRAMES_PER_CONTENT * (self._origin + said)
        return self._speech.step(features, f0, ahead, first_frame, who)

    def _retrieve(self, plain: Audio, voiced: Open, controls: Controls) -> Audio:
        """[2 n, dim] at 100 frames/s: features drawn towards the index, less so where unvoiced."""
        repeat = FRAMES_PER_CONTENT
        if self._voice.index is None or controls.index_rate == 0.0:
            return np.repeat(plain, repeat, axis=0)
        drawn = np.repeat(self._voice.index.blend(plain, controls.index_rate), repeat, axis=0)
        if controls.protect >= 0.5:
            return drawn
        keep = np.where(voiced.reshape(-1, 1), 1.0, controls.protect).astype(np.float32)
        return drawn * keep + np.repeat(plain, repeat, axis=0) * (1.0 - keep)

    def _levels(self, frames: Index) -> Audio:
        """What was heard in each of `frames`, [n, samples]."""
        if not len(frames):
            return np.zeros((0, CONTENT_HOP), np.float32)
        first = int(frames[0])
        return self._listen(first, int(frames[-1]) + 1).reshape(-1, CONTENT_HOP)[frames - first]


def runs(flags: Open) -> Iterator[tuple[int, int]]:
    """The stretches [start, stop) over which `flags` is set.

    >>> list(runs(np.array([False, True, True, False, True])))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
