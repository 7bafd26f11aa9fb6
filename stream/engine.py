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
from stream.line import Lap, Line, PitchCurve, no_lap
from stream.models.voice import Voice
from stream.pitch import PitchMatch
from stream.profiles import STEADY, WINDOWED, Profile, Profiles
from stream.resample import Resampler
from stream.ring import Ring
from stream.stretch import Stretch

FADE_MS = 10  # between two voices, and between the voice and bypass
HEARD_SECONDS = 3  # of analysis audio kept: detector window, encoder's past, the longest hop
FRAMES_PER_SECOND = ANALYSIS_RATE // CONTENT_HOP
NOTHING = np.zeros(0, np.float32)
CLOSED = np.zeros(0, np.bool_)
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

    curve   the speaker's pitch over the stream's time, where it is known: for files. Nothing
            detects it then, and `Controls` do with it what they do with a pitch that was heard

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
        curve: PitchCurve | None = None,
        lap: Lap = no_lap,
    ) -> None:
        if sample_rate not in RATES:
            allowed = ", ".join(map(str, RATES))
            raise ConfigError(f"sample_rate must be one of {allowed} Hz, got {sample_rate}.")
        self.sample_rate = sample_rate
        self.controls = controls if controls is not None else Controls()
        self.bypass = False
        self.frame = sample_rate // FRAMES_PER_SECOND  # samples a content frame
        self._seed, self._curve, self._lap = seed, curve, lap
        self._profile = self._wanted_profile = profile
        self._longest = max(map(_frames, [profile, *STEADY.values(), *WINDOWED.values()]))
        self._lead = _analysis_lead(sample_rate, voice)
        self._voice = self._wanted = voice
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
        """Go on in another voice: both speak for a short equal-power fade, no sample is lost.

        A voice of another kind may take other hops (its profile of the same name) and hear another
        distance ahead: `hop` and `latency` change with it, and positions go on as they were. Until
        the longer latency has passed, nothing comes out.
        """
        self._wanted = voice

    @property
    def profile(self) -> Profile:
        """The profile in force."""
        return self._profile

    @property
    def profiles(self) -> Profiles:
        """Those that suit the voice that speaks."""
        return self._voice.profiles

    def change_profile(self, profile: Profile) -> None:
        """Take longer or shorter hops, from the next one on; no sample is lost or said twice.

        `hop` and `latency` change with it. Raises `ConfigError` for a profile that looks another
        distance ahead, or whose hop is longer than those of the voice's own profiles.
        """
        if profile.look_ahead != self._profile.look_ahead or _frames(profile) > self._longest:
            raise ConfigError(f"A stream cannot go on with hops of {profile.hop_ms} ms.")
        self._wanted_profile = profile

    def reset(self) -> None:
        """Drop what is inside; the next sample is the first of a new stream."""
        rate = self.sample_rate
        if self._wanted.profiles is not self._voice.profiles:
            self._wanted_profile = self._wanted.profiles[self._profile.name]
        self._voice, self._profile = self._wanted, self._wanted_profile
        self._ahead = self._look_ahead(self._voice)
        self._lag = self._least_lag(self._voice)
        room = rate + 4 * (self._longest * self.frame + self._lag)
        self._blocks = Blocks(self.hop)
        self._to_analysis = Resampler(rate, ANALYSIS_RATE)
        self._heard = Ring((HEARD_SECONDS + self._longest // FRAMES_PER_SECOND) * ANALYSIS_RATE)
        self._heard.write(np.zeros(self._lead, np.float32))
        self._raw = Ring(room)
        self._gate = Gate(self._ahead)
        self._prepared = self._voice  # the voice for which is heard as far ahead as it wants
        match = PitchMatch(self._voice.card.f0_median_hz)
        self._line = self._new_line(self._voice, 0, match, self.controls.formant)
        self._said = Ring(room)
        self._at = 0  # content frames heard since the start
        self._next = 0  # the content frame to convert next
        self._due = 0  # samples that are out, or about to be
        self._taken = 0  # samples that came in
        self._given = 0  # samples that went out
        self._dry = 0.0  # 1 while the raw voice is heard

    def step(self, block: Audio) -> Audio:
        """[any] samples in -> [any] samples that are ready, following those of the last call."""
        self._taken += len(block)
        if self._wanted_profile is not self._profile:
            self._line.profile = self._wanted_profile
            self._take_profile(self._wanted_profile)
        return self._join([self._hop(hop) for hop in self._blocks.step(block)])

    def flush(self) -> Audio:
        """The samples still inside; afterwards the stream is as new."""
        rest = self._taken - self._given
        wanted, self._wanted = self._wanted, self._voice  # what is inside is said as it began
        silence = np.zeros(rest + self.latency, np.float32)
        out = self._join([self._hop(hop) for hop in self._blocks.step(silence)])[:rest]
        self.change_voice(wanted)
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
        wanted, formant = self._wanted, controls.formant
        changes = wanted is not self._voice or formant != self._line.formant
        before = self._prepare(wanted) if wanted is not self._prepared else CLOSED
        opened = self._decide(len(block) // self.frame, before, controls.gate_db)
        if len(opened) and changes:
            self._switch(wanted, opened, controls)
        elif len(opened):
            self._said.write(self._line.step(opened, controls))
        self._next += len(opened)
        return self._emit()

    def _take_profile(self, profile: Profile) -> None:
        """Hops of another length, from now on."""
        self._profile = self._wanted_profile = profile
        self._blocks.size = self.hop

    def _prepare(self, wanted: Voice) -> Open:
        """Hear as far ahead as the voice wants; gate decisions that are due at once."""
        if wanted.profiles is not self._prepared.profiles:
            # the line that speaks now does not see it: it was told how far it hears
            self._take_profile(wanted.profiles[self._profile.name])
        self._prepared = wanted
        self._ahead = self._look_ahead(wanted)
        self._lag = self._least_lag(wanted)
        return self._gate.change_lead(self._ahead)

    def _decide(self, n: int, before: Open, gate_db: float) -> Open:
        """The gate for the content frames that can be converted now that `n` more were heard."""
        begin = self._at - self._gate.lead - len(before)  # the frame of the first decision
        end = (self._at + n) * CONTENT_HOP
        audio = self._heard.read(end - n * CONTENT_HOP, end)
        self._at += n
        opened = self._gate.step(frame_levels(audio, CONTENT_HOP), gate_db)
        return np.concatenate([before, opened])[max(0, self._next - begin) :]

    def _switch(self, wanted: Voice, opened: Open, controls: Controls) -> None:
        """Convert with the old line and with a new one, and fade from one to the other."""
        known = min(len(opened), max(0, self._at - self._line.ahead - self._next))
        old = self._line.step(opened[:known], controls) if known else NOTHING
        match = self._line.match.towards(wanted.card.f0_median_hz)
        self._voice = wanted
        self._line = self._new_line(wanted, self._next, match, controls.formant)
        self._said.write(self._change(old, self._next, self._line.step(opened, controls)))

    def _change(self, old: Audio, first: int, new: Audio) -> Audio:
        """Lead from the old line's next samples over to the new line's, which start at `first`."""
        begin = first * self.frame - self._said.end
        if begin > len(old):  # the old line cannot say so much more: a few samples of its filter
            old = np.pad(old, (0, begin - len(old)))
        fade = min(self.sample_rate * FADE_MS // 1000, len(old) - begin, len(new))
        mixed = crossfade(old[begin : begin + fade], new[:fade], equal_power_rise(fade))
        return np.concatenate([old[:begin], mixed, new[fade:]])

    def _emit(self) -> Audio:
        """What the latency law says is due, taken from the converted or the raw voice."""
        since, due = self._due, max(self._due, self._at * self.frame - self._lag)
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
            curve=self._curve,
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
