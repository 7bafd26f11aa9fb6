"""One client's conversation, without sockets, clocks or threads: frames in, frames out.

Feed every frame that arrives to `receive`, send what `outbox` holds, run the jobs that `next_load`
and `next_hop` give out in worker threads and `settle` them, call `tick` a few times a second, and
close when `close` is set and the outbox is empty. Every method is told the time.
"""

from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
from pydantic import ValidationError

from server.config import Limits
from server.failures import GOING_AWAY, OK, TOO_BIG, Refused, close_code, failure
from server.line import Job, Line, Opened, Outcome, Place
from server.outlet import Outbox
from server.pcm import LOUDEST, decode, sound
from server.protocol import (
    AudioFrame,
    BadFrame,
    Bypass,
    Ping,
    Pong,
    Ready,
    SetControls,
    SetVoice,
    Start,
    Stop,
    Stopped,
    client_message,
)
from stream.ladder import Step


class Backend(Protocol):
    """Where conversions come from. Both may take long: they run in a worker thread."""

    def open(self, start: Start, device: str, step: Step = ..., /) -> Opened:
        """A warm conversion as `start` asks for, with what `step` gives up.

        Raises `TimbralError` when there is none.
        """
        ...

    def load(self, voice: str, device: str, /) -> Any:
        """The voice of that name, for `Converter.change_voice`."""
        ...


class Room(Place, Protocol):
    """What a conversation needs of `server.room.Room`; see there for the laws."""

    @property
    def device(self) -> str: ...

    def let_in(self, kind: Hashable, seconds: float, hop_s: float, /) -> None: ...
    def leave(self) -> None: ...


class Ticket(Protocol):
    """How a client comes back to its stream; see `server.resume.Ticket`."""

    def offer(self) -> str: ...
    def confirm(self) -> None: ...
    def claim(self, start: Start, /) -> bool: ...


class Call:
    """One conversation, from `start` to the closing code.

    The connection may break: after `park` nothing is kept for the client, and nothing goes out of
    step, until `resume`, or until `resume_s` has passed. Laws: a stream that was resumed says what
    it would have said to a client that was silent meanwhile; what was converted while nobody was
    there is never heard; `bypass` is off afterwards.

    session  names it in the log
    room    where the stream is converted
    ticket  tells who may resume
    admit   called when a stream is to be opened; raises `Refused` for a wrong token, for a voice
            that the token is not for, and when there are too many
    permit  called with another voice's name before it is loaded; raises `Refused`
    """

    def __init__(
        self,
        session: str,
        backend: Backend,
        room: Room,
        limits: Limits,
        now: float,
        *,
        admit: Callable[[Start], None] = lambda _start: None,
        permit: Callable[[str], None] = lambda _voice: None,
        ticket: Ticket | None = None,
    ) -> None:
        self.session = session
        self._admit = admit
        self._permit = permit
        self._backend = backend
        self._room = room
        self._ticket = ticket
        self._asked: Start | None = None
        self._ready: Ready | None = None
        self._lasting = True  # can be resumed
        self._limits = limits
        self._started = False
        self._stopping = False
        self._line: Line | None = None
        self._loads: deque[Job] = deque()
        self._heard = now  # when the last frame came
        self._reported = now  # when the last `stats` went
        self._faults: deque[float] = deque(maxlen=limits.faults_per_minute)
        self._farewell = OK
        self.outbox = Outbox(limits)
        self.close: int | None = None
        self.moved: Start | None = None  # by which the client goes on with another conversation
        self.parked: float | None = None  # since when nobody is there

    @property
    def line(self) -> Line | None:
        """The audio side, once the stream is open; to be looked at only."""
        return self._line

    @property
    def full(self) -> bool:
        """Whether the socket should not be read now, so that the client is slowed down."""
        if self.outbox.crowded or len(self._loads) >= self._limits.texts:
            return True
        return self._line.full if self._line else self._started

    def receive(self, frame: str | bytes, now: float) -> None:
        """A frame arrived. Whatever it holds, the answer is in the outbox."""
        if self.close is not None or self._stopping:
            return
        self._heard = now
        if self._ticket is not None:
            self._ticket.confirm()
        try:
            self._audio(frame, now) if isinstance(frame, bytes) else self._message(frame)
        except (ValidationError, BadFrame, Refused) as error:
            self._fault(error, now)

    @property
    def to_load(self) -> bool:
        """Whether `next_load` has something."""
        return bool(self._loads)

    def next_load(self) -> Job | None:
        """A voice to load or a stream to open; one at a time."""
        return self._loads.popleft() if self._loads else None

    def next_hop(self, now: float) -> Job | None:
        """The next piece of conversion; None while one is out."""
        return self._line.next(now) if self._line and self.close is None else None

    def submit(self, job: Job) -> "Future[Outcome]":
        """Have a job of `next_hop` done where the stream has its place."""
        return self._room.submit(job)

    def settle_load(self, job: Job, outcome: Outcome, now: float) -> None:
        """A job of `next_load` is done."""
        if self.close is None and outcome.error is not None:
            job.failed(outcome.error, now)
        elif self.close is None:
            job.then(outcome.value, outcome.seconds, now)

    def settle_hop(self, job: Job, outcome: Outcome, now: float) -> None:
        """A job of `next_hop` is done."""
        if self.close is not None or self._line is None:
            return
        self._line.settle(job, outcome, now)
        if self._line.finished and self.close is None:
            sent = self._line.outlet.samples - self.outbox.dropped_samples
            self.outbox.message(self._line.stats())
            self.outbox.message(Stopped(samples_in=self._line.intake.accepted, samples_out=sent))
            self.close = self._farewell

    def tick(self, now: float) -> None:
        """Let time pass: limits, `stats`, late audio."""
        if self.close is not None:
            return
        if self.parked is not None:
            self._tick_parked(now - self.parked, now)
        elif self.outbox.stuck(now):
            self.fail(Refused("too_slow", "The client takes too long to read."), now)
        elif not self._started and now - self._heard > self._limits.start_s:
            self.fail(Refused("idle", "No `start` came."), now)
        elif self._line is not None:
            self._tick_line(self._line, now)

    def hang_up(self, now: float) -> None:
        """The server ends: an open stream gets what is inside, and `stopped`."""
        self._farewell = GOING_AWAY
        self._lasting = False
        if self._line is None or self.parked is not None:
            self.close = self.close or GOING_AWAY
        elif self.close is None:
            self._end(self._line)

    def drain(self) -> None:
        """The server will end: whoever is away now, or goes, cannot come back."""
        self._lasting = False
        if self.parked is not None:
            self.give_up()

    def park(self, now: float) -> bool:
        """The connection broke. Returns whether the stream waits for another."""
        open_ = self._line is not None and self.close is None
        if not open_ or self._stopping or not self._lasting or self._ticket is None:
            return False
        self.parked = now
        self._room.leave()
        self.outbox.mute()
        return True

    def give_up(self) -> None:
        """Nobody comes back."""
        self.close = OK if self.close is None else self.close

    def leave(self) -> None:
        """The conversation is over: others may have its place."""
        self._room.leave()

    def fits(self, start: Start) -> bool:
        """Whether `start` asks for the form of sound that this stream has."""
        asked = self._asked
        return asked is not None and all(
            getattr(start, name) == getattr(asked, name)
            for name in ("sample_rate", "encoding", "profile")
        )

    def resume(self, start: Start, now: float) -> None:
        """The client is back, and wants the voice and the controls of `start`."""
        line, ready = self._line, self._ready
        if self.close is not None or line is None or ready is None or self._ticket is None:
            return
        self.parked = None
        self._heard = self._reported = now
        self.outbox.unmute()
        told = {**line.facts, "resume": self._ticket.offer(), "resumed": True}
        self.outbox.message(ready.model_copy(update=told))
        line.change_bypass(Bypass(on=False))
        line.change_controls(start.controls)
        if start.voice != told["voice"]:
            try:
                self._permit(start.voice)
            except Refused as error:
                self.fail(error, now, fatal=False)
            else:
                self._load(start.voice, line)

    def fail(self, error: Exception, now: float, fatal: bool = True) -> None:
        """Tell the client of `error`; a fatal one ends the conversation."""
        if self.close is not None:
            return
        told = failure(error, fatal=fatal)
        self.outbox.message(told)
        if fatal:
            self.close = close_code(error, told)

    def _tick_parked(self, seconds: float, now: float) -> None:
        if self._line is not None:
            self._line.shed(now)
        if seconds > self._limits.resume_s:
            self.give_up()

    def _tick_line(self, line: Line, now: float) -> None:
        line.shed(now)
        if self.full or self._stopping:
            self._heard = now
        if now - self._heard > self._limits.idle_s:
            text = f"Nothing came for {self._limits.idle_s:g} s; send `ping` to stay."
            self.fail(Refused("idle", text), now)
        elif now - self._reported >= self._limits.stats_s:
            self._reported = now
            self.outbox.message(line.stats())

    def _message(self, text: str) -> None:
        if len(text.encode("utf-8", "surrogatepass")) > self._limits.text_bytes:
            raise self._too_big("text", self._limits.text_bytes)
        message = client_message.validate_json(text)
        if isinstance(message, Start):
            self._start(message)
            return
        line = self._open()
        match message:
            case SetControls():
                line.change_controls(message)
            case SetVoice():
                self._permit(message.voice)
                self._load(message.voice, line)
            case Bypass():
                line.change_bypass(message)
            case Ping():
                self.outbox.message(Pong(t=message.t))
            case Stop():
                self._end(line)

    def _audio(self, data: bytes, now: float) -> None:
        if len(data) > self._limits.audio_bytes:
            raise self._too_big("binary", self._limits.audio_bytes)
        line = self._open()
        frame = AudioFrame.unpack(data)
        frame.samples(line.encoding)
        samples = decode(frame.pcm, line.encoding)
        heard = sound(samples)
        line.put(frame.position, samples if heard else np.zeros_like(samples), now)
        if not heard:
            text = f"Samples must be numbers within ±{LOUDEST:g}; the frame counts as silence."
            raise Refused("bad_message", text)

    def _start(self, start: Start) -> None:
        if self._started:
            raise Refused("bad_message", "The stream is open already.")
        if start.resume is not None and self._ticket is not None and self._ticket.claim(start):
            self._started, self.moved = True, start
            return
        self._admit(start)
        self._started = True
        self._asked = start

        def opened(result: Opened, _seconds: float, now: float) -> None:
            converter = result.converter
            line = Line(result, self._room, start, self.outbox, self._limits, self._report)
            hop_s = converter.hop / start.sample_rate
            try:
                self._room.let_in(line.kind, result.hop_seconds, hop_s)
            except Refused as error:
                self.fail(error, now)
                return
            self._line = line
            self._heard = self._reported = now
            self._ready = Ready(
                session=self.session,
                sample_rate=start.sample_rate,
                encoding=start.encoding,
                provider=result.provider,
                why=result.why,
                resume=self._ticket.offer() if self._ticket else "",
                **line.facts,
            )
            self.outbox.message(self._ready)

        def work() -> Opened:
            return self._backend.open(start, self._room.device, self._room.step)

        self._loads.append(Job(work, opened, self.fail))

    def _load(self, name: str, line: Line) -> None:
        def loaded(voice: Any, _seconds: float, _now: float) -> None:
            line.change_voice(name, voice)

        def failed(error: Exception, now: float) -> None:
            self.fail(error, now, fatal=False)

        self._loads.append(Job(lambda: self._backend.load(name, self._room.device), loaded, failed))

    def _end(self, line: Line) -> None:
        self._stopping = True
        line.end()

    def _open(self) -> Line:
        if not self._started:
            raise Refused("bad_message", "The first message must be `start`.")
        if self._line is None:
            raise Refused("bad_message", "Wait for `ready`.")
        return self._line

    def _fault(self, error: Exception, now: float) -> None:
        """Answer what was wrong with a frame; end what cannot go on, or is wrong all the time."""
        flood = len(self._faults) == self._faults.maxlen and now - self._faults[0] < 60.0
        self._faults.append(now)
        too_big = isinstance(error, Refused) and error.close is not None
        self.fail(error, now, fatal=flood or too_big or not self._started)

    def _report(self, error: Exception, fatal: bool, now: float) -> None:
        self.fail(error, now, fatal)

    def _too_big(self, kind: str, most: int) -> Refused:
        return Refused("bad_message", f"A {kind} frame may have {most} bytes.", close=TOO_BIG)
