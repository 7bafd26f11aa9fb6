"""Whole conversations: messages, frames, pauses, lost connections and returns, in any order.

They drive the real `Call` on a clock of their own. Laws: the raw voice never comes out of a
conversation that never asked for bypass; no sample is answered twice, none before it came, and
positions only rise; every refusal is typed, and `internal` is none; what waits stays bounded.
"""

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from calls import START, FakeConversion, FakeVoices, Talk
from fuzz.engine import Broken, Play, one_by_one
from fuzz.mutate import WORDS, damaged
from fuzz.wire import message, messages_of

from server.config import Limits
from server.failures import GOING_AWAY, INTERNAL, OK, POLICY, TOO_BIG, TRY_LATER
from server.pcm import decode
from server.protocol import (
    AudioFrame,
    Bypass,
    ClientMessage,
    ControlValues,
    Failure,
    Message,
    Ping,
    Ready,
    SetControls,
    SetVoice,
    Stop,
    Stopped,
)
from server.resume import Tickets
from stream.audio import Audio

MOST_S = 5.0
MOST_STEPS = 24
CODES = frozenset({OK, GOING_AWAY, POLICY, TOO_BIG, TRY_LATER, INTERNAL})
MOST_WAITING = 4.0  # s of audio in one conversation, the inbox and the held frame included


class Guest:
    """A client without manners, and what it has seen; over one connection or several."""

    def __init__(self, draw: random.Random, make: Callable[[], FakeConversion]) -> None:
        self.draw = draw
        self.tickets: Tickets[Talk] = Tickets()
        self.voices = FakeVoices(make)
        self.limits = Limits(audio_bytes=16 * 1024)
        self.now = 1000.0
        self.secrets = ["", "x" * 64]
        self.bypassed = False
        self.held: list[Talk] = []  # conversations that were left
        self.seen = 0  # frames of the present conversation that were judged
        self.ends: dict[int, int] = {}  # by conversation: after the last sample that was judged
        self.talk = self.connect()

    def connect(self) -> Talk:
        """A new connection, and a conversation of its own."""
        return Talk(
            voices=self.voices,
            limits=self.limits,
            tickets=self.tickets,
            now=self.now,
            encoding=START.encoding,
            compute=self.draw.choice((0.0, 0.001, 0.05, 0.4)),
        )

    def say(self, frame: str | bytes) -> None:
        """Send it, have everything done, and judge what came."""
        talk = self.talk
        talk.now = self.now = max(self.now, talk.now)
        before = len(talk.messages)
        talk.tell(frame)
        other = talk.ticket.claimed if talk.ticket is not None else None
        if talk.call.moved is not None and other is not None and other is not talk:
            other.now = max(other.now, self.now)
            other.call.park(other.now)
            other.call.resume(talk.call.moved, other.now)
            talk.call.give_up()
            self.talk, before = other, len(other.messages)
            self.seen = len(other.frames)
            other.settle()
        self.judge(before)

    def judge(self, before: int) -> None:
        """Raise `Broken` for what must not be."""
        talk = self.talk
        self.now = max(self.now, talk.now)
        for told in talk.messages[before:]:
            self._message(told)
        for frame in talk.frames[self.seen :]:
            self._frame(frame)
        self.seen = len(talk.frames)
        call = talk.call
        if call.close is not None and call.close not in CODES:
            raise Broken(f"closed with {call.close}")
        waiting = call.line.intake.queued if call.line else 0
        if waiting > MOST_WAITING * START.sample_rate or len(call.outbox._items) > 2000:  # pyright: ignore[reportPrivateUsage]
            raise Broken(f"{waiting} samples wait")

    def _message(self, told: Message) -> None:
        if isinstance(told, Failure) and told.code == "internal":
            raise Broken(f"an error that is not ours: {told.message}")
        if isinstance(told, Ready):
            self.secrets = [*self.secrets[-6:], told.resume]
        if isinstance(told, Stopped) and told.samples_out > told.samples_in:
            raise Broken(f"more came out than in: {told}")

    def _frame(self, frame: AudioFrame) -> None:
        line = self.talk.call.line
        if line is None:
            raise Broken("audio before a stream")
        samples = decode(frame.pcm, line.encoding)
        before, end = self.ends.get(id(self.talk), 0), frame.position + len(samples)
        if frame.position < before:
            raise Broken(f"position {frame.position} after {before}")
        if end > line.intake.end:
            raise Broken(f"an answer to {end}, but {line.intake.end} came")
        self.ends[id(self.talk)] = end
        if not self.bypassed and (samples > 0.0).any():
            raise Broken("the raw voice")


def voice(draw: random.Random) -> Audio:
    """[n] what a speaker says: never below zero, so that the raw voice can be told."""
    count = draw.choice((1, 2, 63, 64, 65, 159, 160, 161, 800, 4000))
    loud = draw.choice((0.0, 1e-30, 0.5, 1.0, 8.0))
    samples = np.full(count, loud, np.float32)
    if draw.random() < 0.05:
        samples[draw.randrange(count)] = draw.choice((np.nan, np.inf, 9.0, 3e38))
    return samples


class Acts:
    """What a guest can do; each act says what it does in a word."""

    def __init__(self) -> None:
        self._schemas, self._names = messages_of(ClientMessage)
        self._acts: tuple[tuple[int, Callable[[Guest], None]], ...] = (
            (30, self.speak),
            (4, self.break_a_frame),
            (8, self.send_anything),
            (10, self.send_what_is_allowed),
            (8, self.wait),
            (4, self.go_and_come_back),
            (3, self.start),
            (1, self.end),
        )

    def any(self, guest: Guest) -> None:
        """One of them."""
        chances = [chance for chance, _ in self._acts]
        guest.draw.choices([act for _, act in self._acts], chances)[0](guest)

    def start(self, guest: Guest) -> None:
        """Say `start`, again perhaps, mostly as it should be."""
        draw = guest.draw
        told: dict[str, Any] = {"resume": draw.choice((None, *guest.secrets))}
        if draw.random() < 0.2:
            told["voice"] = draw.choice(("ben", "slow", "eve"))
        if draw.random() < 0.1:
            told["encoding"] = "s16le"
        guest.say(START.model_copy(update=told).model_dump_json())

    def speak(self, guest: Guest) -> None:
        """Send a frame where the last ended, or nearly there, or far away."""
        draw, talk = guest.draw, guest.talk
        samples = voice(draw)
        at = talk.position
        jump = draw.random()
        if jump < 0.1:
            at += draw.choice((1, 160, 3999, 4000, 4001, 80_000, 2**40))
        elif jump < 0.15:
            at = max(0, at - draw.choice((1, 160, 10**6)))
        elif jump < 0.17:
            at = draw.choice(WORDS)
        line = talk.call.line
        s16 = line is not None and line.encoding == "s16le"
        whole = np.clip(np.nan_to_num(samples), 0.0, 8.0) * 4000
        pcm = whole.astype("<i2") if s16 else samples
        frame = AudioFrame(talk.seq, at, pcm.tobytes()).pack()
        if jump >= 0.17 or draw.random() < 0.5:
            talk.seq, talk.position = (talk.seq + 1) & 0xFFFFFFFF, min(at + len(samples), 2**62)
        guest.now += draw.choice((0.0, len(samples) / START.sample_rate, 0.3, 0.6))
        guest.say(frame)

    def break_a_frame(self, guest: Guest) -> None:
        """Send a frame that was damaged, but for its samples: those stay above zero."""
        draw, talk = guest.draw, guest.talk
        pcm = np.full(draw.choice((1, 160)), 0.5, "<f4").tobytes()
        head = AudioFrame(talk.seq, talk.position, b"").pack()
        tail = draw.choice((b"", pcm, pcm[:-1], bytes(20_000)))
        guest.say(damaged(draw, head)[:16].ljust(draw.choice((0, 15, 16)), b"\x00") + tail)

    def send_anything(self, guest: Guest) -> None:
        """Send a text that is a message, or nearly; none that asks for bypass in earnest."""
        text = message(guest.draw, self._schemas, self._names)
        if guest.draw.random() < 0.02:
            text = text.ljust(20_000)
        guest.bypassed = guest.bypassed or "bypass" in text
        guest.say(text)

    def send_what_is_allowed(self, guest: Guest) -> None:
        """Change something while speaking."""
        draw = guest.draw
        asked: list[Message] = [
            Ping(t=draw.choice((0.0, -1.5, 1e308))),
            SetVoice(voice=draw.choice(("ada", "ben", "slow", "nobody"))),
            SetControls(pitch=draw.choice((-24.0, 0.0, 24.0)), gate_db=-40.0),
            SetControls(**ControlValues(f0_min_hz=550.0, f0_max_hz=200.0).model_dump()),
            Bypass(on=False),
        ]
        for _ in range(draw.choice((1,) * 30 + (20, 300))):
            guest.say(draw.choice(asked).model_dump_json())

    def wait(self, guest: Guest) -> None:
        """Let time pass; sometimes long enough for every limit."""
        draw, talk = guest.draw, guest.talk
        before = len(talk.messages)
        talk.now = guest.now = max(guest.now, talk.now) + draw.choice((0.0, 0.1, 0.3, 1.0, 9.0))
        talk.wait(draw.choice((0.25, 0.25, 1.0, 1.0, 11.0)))
        guest.judge(before)

    def go_and_come_back(self, guest: Guest) -> None:
        """Lose the connection, or only open another; come back with a secret, or a wrong one."""
        draw, talk = guest.draw, guest.talk
        if draw.random() < 0.8 and not talk.call.park(guest.now):
            talk.call.give_up()
        if draw.random() < 0.5:
            talk.now = guest.now = guest.now + draw.choice((0.1, 5.0, 12.0))
            talk.call.tick(guest.now)
            talk.settle()
        guest.seen = 0
        guest.held.append(guest.talk)
        guest.talk = guest.connect()
        self.start(guest)

    def end(self, guest: Guest) -> None:
        """Stop, or have the server stop."""
        if guest.draw.random() < 0.5:
            guest.say(Stop().model_dump_json())
        else:
            before = len(guest.talk.messages)
            guest.talk.call.hang_up(guest.now)
            guest.talk.settle()
            guest.judge(before)


def talks_with(make: Callable[[], FakeConversion]) -> Any:
    """A target of conversations whose converter is made by `make`."""
    acts = Acts()

    def case(draw: random.Random) -> str:
        guest = Guest(draw, make)
        if draw.random() < 0.9:
            acts.start(guest)
        for _ in range(draw.randint(1, MOST_STEPS)):
            acts.any(guest)
        close = guest.talk.call.close
        return "goes on" if close is None else f"closed {close}"

    @contextmanager
    def opened(_folder: Path) -> Generator[Play]:
        yield one_by_one(case, MOST_S)

    return opened


talks = talks_with(FakeConversion)
