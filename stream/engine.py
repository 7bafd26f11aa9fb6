"""The engine: one live stream through one voice."""

import math

import numpy as np

from stream.audio import (
    ANALYSIS_RATE,
    CONTENT_HOP,
    RATES,
    Audio,
    crossfade,
    equal_power_rise,
    frame_levels,
    gain,
)
from stream.blocks import Blocks
from stream.controls import LIMITS, Controls
from stream.errors import ConfigError
from stream.gate import Gate, Open
from stream.line import Lap, Line, no_lap
from stream.models.voice import Voice
from stream.pitch import PitchMatch
from stream.profiles import Profile
from stream.resample import Resampler
from stream.ring import Ring
from stream.stretch import Stretch

FADE_MS = 10  # between two voices, and between the voice and bypass
HEARD_SECONDS = 3  # of analysis audio kept: detector window, encoder's past, the longest hop
FRAMES_PER_SECOND = ANALYSIS_RATE // CONTENT_HOP
FORMANTS = (LIMITS["formant"][0], 0.0, LIMITS["formant"][1])  # semitones: least, none, most


class Conversion:
    """Audio in, the same speech in another voice out. Serves one stream.

    Laws, each with a test in tests/stream/test_engine.py:

    length     `step`s and `flush` return together as many samples as went in; output sample `p` is
               the conversion of input sample `p`
    latency    once input sample `p + latency` went in, output sample `p` came out; constant
    cutting    however the caller cuts the input, the output is the same, bit for bit
    streaming  the output equals that of one pass over the whole input, whatever the hop
    silence    digital silence in gives digital silence out, after the gate's hangover
    raw voice  comes out only while `bypass` is on
    growth     after warm-up a step keeps nothing

    Not for use by two threads at once; `controls`, `bypass` and `change_voice` may be set from
    another thread and take effect at the next hop. Raises `ConfigError` for a rate that is not
    among `stream.audio.RATES`.
    """

    def __init__(
        self,
        voice: Voice,
        sample_rate: int,
        *,
        profile: Profile,
        controls: Controls | None = None,
        seed: int = 0,
        lap: Lap = no_lap,
    ) -> None:
        if sample_rate not in RATES:
            allowed = ", ".join(map(str, RATES))
            raise ConfigError(f"sample_rate must be one of {allowed} Hz, got {sample_rate}.")
        self.sample_rate = sample_rate
        self.controls = controls if controls is not None else Controls()
        self.bypass = False
        self.frame = sample_rate // FRAMES_PER_SECOND  # samples a content frame
        self._seed, self._lap = seed, lap
        self._profile = profile
        self._longest = max(map(_frames, [profile, *voice.profiles.values()]))
        self._ahead = self._look_ahead(voice)
        self._lead = _analysis_lead(sample_rate, voice)
        self._lag = self._least_lag(voice)
        self._wanted = voice
        self.reset()

    @property
    def hop(self) -> int:
        """Samples that one inference step takes."""
        return self._profile.content_frames * self.frame

    @property
    def latency(self) -> int:
        """Samples that must go in after a sample before its conversion is sure to come out."""
        return self.hop + self._lag

    @property
    def voice(self) -> Voice:
        """The voice that speaks from the next hop on."""
        return self._wanted

    def change_voice(self, voice: Voice) -> None:
        """Go on in another voice: both speak for a short equal-power fade, without a gap.

        Raises `ConfigError` when the voice hears another distance ahead, or would come too late.
        """
        same = voice.whole_hops == self._voice.whole_hops
        if not same or self._look_ahead(voice) != self._ahead or self._least_lag(voice) > self._lag:
            raise ConfigError(
                f"Voice '{voice.card.name}' has another latency. Start a new stream to use it."
            )
        self._wanted = voice

    @property
    def profile(self) -> Profile:
        """The profile in force."""
        return self._profile

    def change_profile(self, profile: Profile) -> None:
        """Take longer or shorter hops, from the next one on; no sample is lost or said twice.

        `hop` and `latency` change with it. Raises `ConfigError` for a profile that looks another
        distance ahead, or whose hop is longer than those of the voice's own profiles.
        """
        if profile.look_ahead != self._profile.look_ahead or _frames(profile) > self._longest:
            raise ConfigError(f"A stream cannot go on with hops of {profile.hop_ms} ms.")
        self._profile = profile
        self._line.profile = profile
        waiting = self._blocks.flush()
        self._blocks = Blocks(self.hop)
        self._waiting = waiting

    def reset(self) -> None:
        """Drop what is inside; the next sample is the first of a new stream."""
        rate = self.sample_rate
        room = rate + 4 * (self._longest * self.frame + self._lag)
        self._blocks = Blocks(self.hop)
        self._to_analysis = Resampler(rate, ANALYSIS_RATE)
        self._waiting = np.zeros(0, np.float32)  # samples of a hop that a change cut short
        self._heard = Ring((HEARD_SECONDS + self._longest // FRAMES_PER_SECOND) * ANALYSIS_RATE)
        self._heard.write(np.zeros(self._lead, np.float32))
        self._raw = Ring(room)
        self._gate = Gate(self._ahead)
        self._voice = self._wanted
        match = PitchMatch(self._voice.card.f0_median_hz)
        self._line = self._new_line(self._voice, 0, match, self.controls.formant)
        self._said = Ring(room)
        self._at = 0  # content frames heard since the start
        self._due = 0  # samples that are out, or about to be
        self._taken = 0  # samples that came in
        self._given = 0  # samples that went out
        self._dry = 0.0  # 1 while the raw voice is heard

    def step(self, block: Audio) -> Audio:
        """[any] samples in -> [any] samples that are ready, following those of the last call."""
        self._taken += len(block)
        if len(self._waiting):
            block = np.concatenate([self._waiting, block])
            self._waiting = self._waiting[:0]
        return self._join([self._hop(hop) for hop in self._blocks.step(block)])

    def flush(self) -> Audio:
        """The samples still inside; afterwards the stream is as new."""
        rest = self._taken - self._given
        silence = np.concatenate([self._waiting, np.zeros(rest + self.latency, np.float32)])
        out = self._join([self._hop(hop) for hop in self._blocks.step(silence)])[:rest]
        self.reset()
        return out

    def _join(self, pieces: list[Audio]) -> Audio:
        out = np.concatenate([np.zeros(0, np.float32), *pieces])
        self._given += len(out)
        return out

    def _hop(self, block: Audio) -> Audio:
        controls = self.controls
        with self._lap("input"):
            self._raw.write(block)
            block = block * np.float32(gain(controls.input_gain_db))
            self._heard.write(self._to_analysis.step(block))
        first = self._at - self._ahead
        self._at += self._profile.content_frames
        opened = self._decide(controls.gate_db)
        self._convert(max(first, 0), opened[max(-first, 0) :], controls)
        return self._emit()

    def _decide(self, gate_db: float) -> Open:
        """The gate for the newest hop's content frames, `ahead` frames ago."""
        end = self._at * CONTENT_HOP
        audio = self._heard.read(end - _frames(self._profile) * CONTENT_HOP, end)
        return self._gate.step(frame_levels(audio, CONTENT_HOP), gate_db)

    def _convert(self, first: int, opened: Open, controls: Controls) -> None:
        if not len(opened):
            return
        speech = self._line.step(opened, controls)
        wanted, formant = self._wanted, controls.formant
        if wanted is not self._voice or formant != self._line.formant:
            match = self._line.match.towards(wanted.card.f0_median_hz)
            self._voice, self._line = wanted, self._new_line(wanted, first, match, formant)
            speech = self._change(speech, first, self._line.step(opened, controls))
        self._said.write(speech)

    def _change(self, old: Audio, first: int, new: Audio) -> Audio:
        """Lead from the old line's next samples over to the new line's, which start at `first`."""
        begin = first * self.frame - self._said.end
        fade = min(self.sample_rate * FADE_MS // 1000, len(old) - begin, len(new))
        mixed = crossfade(old[begin : begin + fade], new[:fade], equal_power_rise(fade))
        return np.concatenate([old[:begin], mixed, new[fade:]])

    def _emit(self) -> Audio:
        """What the latency law says is due, taken from the converted or the raw voice."""
        since, due = self._due, max(0, self._at * self.frame - self._lag)
        self._due = due
        out = self._said.read(since, due)
        target = 1.0 if self.bypass else 0.0
        if self._dry or target:
            raw = self._raw.read(since, due)
            dry = np.full(len(out), target, np.float32)
            if self._dry != target:
                fade = min(self.sample_rate * FADE_MS // 1000, len(out))
                dry[:fade] = np.linspace(self._dry, target, fade, dtype=np.float32)
                self._dry = target
            out = out * (1.0 - dry) + raw * dry
        return out

    def _look_ahead(self, voice: Voice) -> int:
        """Content frames that must be heard beyond the one that is said."""
        return voice.look_ahead(self._profile) + voice.synth.delay_frames

    def _new_line(self, voice: Voice, first: int, match: PitchMatch, formant: float) -> Line:
        return Line(
            voice,
            self.sample_rate,
            self._heard,
            first,
            profile=self._profile,
            formant=formant,
            skipped=self._lead,
            seed=self._seed,
            match=match,
            lap=self._lap,
        )

    def _least_lag(self, voice: Voice) -> int:
        """Samples that the voice needs beyond a hop: look-ahead, alignment, resampling."""
        resampling = max(
            (Resampler(rate, self.sample_rate).lookahead + 1) / rate
            for rate in {Stretch(formant, voice.card.hop).rate for formant in FORMANTS}
        )
        seconds = self._ahead / FRAMES_PER_SECOND + self._lead / ANALYSIS_RATE + resampling
        return math.ceil(seconds * self.sample_rate)


def _frames(profile: Profile) -> int:
    return profile.content_frames


def _analysis_lead(sample_rate: int, voice: Voice) -> int:
    """Zeros put before the 16 kHz audio, so that a hop in gives whole content frames.

    At least what the resampler must hear ahead, and a whole number of samples at the voice's rate.
    """
    lookahead = Resampler(sample_rate, ANALYSIS_RATE).lookahead
    least = math.ceil(lookahead * ANALYSIS_RATE / sample_rate)
    grain = ANALYSIS_RATE // math.gcd(ANALYSIS_RATE, voice.card.sample_rate)
    return -(-least // grain) * grain
