"""The audio side of one open stream: what to convert next, and what comes of it."""

from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from server.config import Limits
from server.intake import Hop, Intake
from server.metrics import StreamMetrics
from server.outlet import Outbox, Outlet
from server.protocol import (
    Bypass,
    ControlsNow,
    ControlValues,
    Encoding,
    Message,
    Start,
    Stats,
    VoiceNow,
)
from stream.audio import Audio
from stream.controls import Controls
from stream.ladder import STEPS, Step, eased

CATCH_UP_S = 10.0  # of audio that may come at once, after a pause as long


class Converter(Protocol):
    """What a stream needs of `stream.engine.Conversion`; see there for the laws."""

    controls: Controls
    bypass: bool

    @property
    def hop(self) -> int: ...
    @property
    def latency(self) -> int: ...
    def step(self, block: Audio, /) -> Audio: ...
    def flush(self) -> Audio: ...
    def reset(self) -> None: ...
    def change_voice(self, voice: Any, /) -> None: ...
    def change_profile(self, profile: Any, /) -> None: ...
    @property
    def profile(self) -> Any: ...
    @property
    def profiles(self) -> Any: ...


class Place(Protocol):
    """The device that a stream is converted on, as far as the stream knows it."""

    @property
    def step(self) -> Step:
        """What the device gives up now."""
        ...

    def submit(self, job: "Job", /) -> "Future[Outcome]":
        """Have a worker do it; every error becomes part of the outcome."""
        ...


class Opened(NamedTuple):
    """A conversion made for one stream."""

    converter: Converter
    provider: str  # the execution provider it really runs on
    profile: str  # as asked, or what `auto` chose
    why: str  # how it came to it; empty when it was asked for
    hop_seconds: float = 0.0  # that a hop takes alone, as measured while it was warmed
    step: Step = STEPS[0]  # what was given up of that profile


class Turn(NamedTuple):
    """When a hop should be converted; see `server.scheduler.Task`."""

    kind: Hashable
    deadline: float
    hop_s: float
    stream: Hashable = None
    spoken: float = float("-inf")


@dataclass(frozen=True)
class Job:
    """Blocking work for a worker thread, and what follows it, on the event loop.

    `then(value, seconds, now)` or `failed(error, now)` is called through `Call.settle`. Work
    without a turn is done alone, before hops.
    """

    work: Callable[[], Any]
    then: Callable[[Any, float, float], None]
    failed: Callable[[Exception, float], None]
    turn: Turn | None = None


class Outcome(NamedTuple):
    """What became of a job's work."""

    value: Any
    error: Exception | None
    seconds: float  # that it took


class Line:
    """One conversion, what waits for it and what it returned. No clock, no thread of its own.

    The conversion is touched by jobs only, and at most one job is out at a time.
    """

    def __init__(
        self,
        opened: Opened,
        place: Place,
        start: Start,
        outbox: Outbox,
        limits: Limits,
        report: Callable[[Exception, bool, float], None],
    ) -> None:
        self._rate = rate = start.sample_rate
        self._converter = converter = opened.converter
        self._profile, self._given = converter.profile.name, opened.profile
        self._step_now = opened.step  # what is given up, of the profile given
        self._profiles = converter.profiles
        self._voice = start.voice
        self.place = place
        self._outbox = outbox
        self._report = report
        self._limits = limits
        self._hop = converter.hop
        self._latency = converter.latency
        self._changes: deque[Job] = deque()
        self._busy = False
        self._spoken: float | None = None  # when what comes next is said, at the pace of speech
        self._broken = False  # a hop failed: the conversion must be reset
        self._failures = 0  # hops in a row
        self._ending = False
        self._held_up = False  # by its client, who did not read, and not in time again since
        self.intake = Intake(rate, self._hop, limits)
        self.metrics = StreamMetrics(self._hop / rate)
        self.encoding: Encoding = start.encoding
        self.outlet = Outlet(rate, self.encoding, outbox)
        self.finished = False
        outbox.bound = round(limits.outbox_s * rate)

    @property
    def kind(self) -> Hashable:
        """What its hops cost like; see `server.scheduler.Task`."""
        return self._voice, self._hop

    @property
    def full(self) -> bool:
        """Whether the socket should not be read now."""
        return self.intake.full or len(self._changes) >= self._limits.texts

    @property
    def facts(self) -> dict[str, Any]:
        """Those fields of `Ready` that may have changed since the stream was opened."""
        return {
            "voice": self._voice,
            "profile": self._profile,
            "hop_samples": self._hop,
            "latency_samples": self._latency,
            "position": self.intake.end,
        }

    def put(self, position: int, samples: Audio, now: float) -> None:
        """Audio arrived. Raises `Refused` when it lies before what came already."""
        first = self.intake.put(position, samples, now)
        if first is not None:
            self.outlet.begin(first, gap=False)
        self.shed(now)

    def shed(self, now: float) -> None:
        """Drop what is too late, as silence."""
        dropped = self.intake.shed(now)
        if dropped:
            self.metrics.underruns += dropped // self._hop
            self.outlet.lost(dropped)

    def end(self) -> None:
        """No more audio comes."""
        self._ending = True

    def stats(self) -> Stats:
        """The stream's figures."""
        dropped = self._outbox.dropped_frames
        eased = self._step_now.name
        return self.metrics.stats(self._profile, self._latency, dropped, eased)

    def next(self, now: float) -> Job | None:
        """What a worker should do now; the job must be settled before the next one."""
        if self._busy or self.finished:
            return None
        job = self._choose(now)
        self._busy = job is not None
        return job

    def settle(self, job: Job, outcome: Outcome, now: float) -> None:
        """A job given out by `next` is done."""
        self._busy = False
        if outcome.error is not None:
            job.failed(outcome.error, now)
        else:
            job.then(outcome.value, outcome.seconds, now)

    def change_controls(self, values: ControlValues) -> None:
        """Change controls before the next hop."""
        changes = values.model_dump(exclude_none=True, exclude={"type"})

        def work() -> Message:
            controls = replace(self._converter.controls, **changes)
            self._converter.controls = controls
            return ControlsNow(**vars(controls))

        self._change(work)

    def change_bypass(self, message: Bypass) -> None:
        """Turn bypass on or off before the next hop."""

        def work() -> None:
            self._converter.bypass = message.on

        self._change(work)

    def change_voice(self, name: str, voice: Any) -> None:
        """Go on in another, loaded voice from the next hop."""

        def work() -> Message:
            self._converter.change_voice(voice)
            self._voice = name
            return VoiceNow(voice=name)

        self._change(work)

    def _change(self, work: Callable[[], Message | None]) -> None:
        def then(answer: Message | None, _seconds: float, _now: float) -> None:
            if answer is not None:
                self._outbox.message(answer)

        def failed(error: Exception, now: float) -> None:
            self._report(error, False, now)

        self._changes.append(Job(work, then, failed))

    def _choose(self, now: float) -> Job | None:
        if self._broken:
            return self._reset()
        if self._changes:
            return self._changes.popleft()
        self.shed(now)
        if self.intake.hop_ready:
            in_time = self.intake.lateness(now) <= 0
            if self._outbox.full and in_time:
                self._held_up = True
                return None
            self._held_up = self._held_up and not in_time
            return self._step(self.intake.take_hop(), now)
        if self.intake.jumping or self._ending:
            return self._flush()
        return None

    def _step(self, hop: Hop, now: float) -> Job:
        def work() -> Audio:
            return _checked(self._converter.step(hop.samples), self.outlet.pending)

        def then(audio: Audio, seconds: float, now: float) -> None:
            self._failures = 0
            waited = max(0.0, now - seconds - hop.complete)
            self.metrics.hop(seconds, waited, missed=now > hop.deadline)
            self.outlet.returned(audio)
            self._follow()
            self._ease()

        self.outlet.fed(len(hop.samples))
        hop_s = self._hop / self._rate
        # the device is not late, and others need not wait, when this client did not read
        deadline = max(hop.deadline, now + hop_s) if self._held_up else hop.deadline
        spoken = now if self._spoken is None else max(self._spoken, now - CATCH_UP_S)
        self._spoken = spoken + hop_s
        turn = Turn(self.kind, deadline, hop_s, id(self), spoken)
        return Job(work, then, self._hop_failed, turn)

    def _follow(self) -> None:
        """Take note of another hop and latency: a profile or a voice may bring them."""
        converter = self._converter
        self._latency, self._profile = converter.latency, converter.profile.name
        if converter.hop != self._hop:
            self._hop = converter.hop
            self.intake.change_hop(self._hop)
            self.metrics.change_hop(self._hop / self._rate)

    def _ease(self) -> None:
        """Change the profile before the next hop, if the device gives something up or back."""
        step, converter = self.place.step, self._converter
        if step is self._step_now and converter.profiles is self._profiles:
            return
        self._step_now, self._profiles = step, converter.profiles

        def work() -> None:
            given = converter.profiles[self._given]
            converter.change_profile(eased(given, converter.profiles, step))

        self._change(work)

    def _hop_failed(self, error: Exception, now: float) -> None:
        self._failures += 1
        self._broken = True
        self.metrics.underruns += 1
        self.outlet.give_up()
        self._report(error, self._failures >= self._limits.failed_hops, now)

    def _reset(self) -> Job:
        def then(_value: None, _seconds: float, _now: float) -> None:
            self._broken = False

        def failed(error: Exception, now: float) -> None:
            self._report(error, True, now)

        return Job(self._converter.reset, then, failed)

    def _flush(self) -> Job:
        """Everything up to a long gap or the end comes out; then go on, or finish."""
        rest = self.intake.take_rest()

        def work() -> Audio:
            head = self._converter.step(rest) if len(rest) else rest
            audio = np.concatenate([head, self._converter.flush()])
            return _checked(audio, self.outlet.pending)

        def then(audio: Audio, _seconds: float, now: float) -> None:
            self.outlet.returned(audio)
            self._after_flush(now)

        def failed(error: Exception, now: float) -> None:
            self._hop_failed(error, now)
            self._after_flush(now)

        self.outlet.fed(len(rest))
        return Job(work, then, failed)

    def _after_flush(self, now: float) -> None:
        self.outlet.give_up()
        if self.intake.jumping:
            self.outlet.begin(self.intake.jump(now), gap=True)
        else:
            self.finished = True


def _checked(audio: Audio, most: int) -> Audio:
    """`audio`, if it is sound. Raises `ValueError` when it is not: better silence than a bang."""
    if len(audio) > most:
        raise ValueError(f"the conversion returned {len(audio)} samples where {most} were due")
    if not np.isfinite(audio).all():
        raise ValueError("the conversion returned samples that are no numbers")
    return audio
