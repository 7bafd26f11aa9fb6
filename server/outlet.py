"""Converted audio on its way to one client."""

from collections import deque
from typing import NamedTuple

import numpy as np

from server.conceal import HEARD_S, continuation
from server.config import Limits
from server.pcm import add_flags, encode, fade_in
from server.protocol import Encoding, Flag, Message
from stream.audio import Audio

_FADE_S = 0.005  # in which converted audio comes back after a loss


class _Item(NamedTuple):
    payload: str | bytearray  # a message, or an audio frame made by `encode`
    samples: int  # 0 for text
    voice: bool  # neither text nor silence that stands for lost audio


class Outbox:
    """Messages and audio for one client, in order. Audio is bounded: the oldest is dropped, and
    the frame that follows says so by its flags and its position.

    Time is told by the caller, in seconds.
    """

    def __init__(self, limits: Limits) -> None:
        self._items: deque[_Item] = deque()
        self._limits = limits
        self._sending_since: float | None = None
        self.audio = 0  # samples that wait
        self.bound = 1 << 62  # samples that may wait; set when the rate is known
        self.texts = 0  # messages that wait
        self.dropped_frames = 0  # of voice, since the start
        self.dropped_samples = 0  # of anything
        self._muted = False
        self._missing = Flag(0)  # what the next audio frame says of those before it

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def full(self) -> bool:
        """Whether more audio would drop some."""
        return self.audio >= self.bound

    @property
    def crowded(self) -> bool:
        """Whether the client asks much and reads little."""
        return self.texts >= self._limits.texts

    def mute(self) -> None:
        """Nobody is there: drop what waits and what comes, text too."""
        self._muted = True
        self._sending_since = None
        for item in self._items:
            self._drop(item)
        self._items.clear()
        self.audio = self.texts = 0

    def unmute(self) -> None:
        """Somebody is there again; the next audio says that some was dropped."""
        self._muted = False
        self._missing = Flag.CONCEALED | Flag.GAP

    def message(self, message: Message) -> None:
        """Add a text frame."""
        if self._muted:
            return
        self._items.append(_Item(message.model_dump_json(), 0, voice=False))
        self.texts += 1

    def frame(self, frame: bytearray, samples: int, *, voice: bool = True) -> None:
        """Add an audio frame; `voice` is false for silence that stands for lost audio."""
        item = _Item(frame, samples, voice)
        if self._muted:
            self._drop(item)
            return
        add_flags(frame, self._missing)
        self._missing = Flag(0)
        self._items.append(item)
        self.audio += samples
        while self.audio > self.bound and self._drop_oldest():
            pass

    def take(self, now: float) -> str | bytearray:
        """The next frame to send; tell `sent` when it is on its way."""
        item = self._items.popleft()
        self.audio -= item.samples
        self.texts -= not item.samples
        self._sending_since = now
        return item.payload

    def sent(self) -> None:
        """The frame last taken was accepted by the socket."""
        self._sending_since = None

    def stuck(self, now: float) -> bool:
        """Whether the client has not taken a frame for too long."""
        since = self._sending_since
        return since is not None and now - since > self._limits.blocked_s

    def _drop_oldest(self) -> bool:
        """Drop the oldest audio frame, never the newest; the next one says that it happened."""
        waiting = ((at, item.payload) for at, item in enumerate(self._items))
        frames = ((at, frame) for at, frame in waiting if isinstance(frame, bytearray))
        oldest, following = next(frames, None), next(frames, None)
        if oldest is None or following is None:
            return False
        item = self._items[oldest[0]]
        self.audio -= item.samples
        self._drop(item)
        add_flags(following[1], Flag.CONCEALED | Flag.GAP)
        del self._items[oldest[0]]
        return True

    def _drop(self, item: _Item) -> None:
        self.dropped_samples += item.samples
        self.dropped_frames += item.voice


class _Span(NamedTuple):
    samples: int
    lost: bool


class Outlet:
    """Puts what the conversion returns at the positions it belongs to.

    Told of every sample that was fed to the conversion or dropped before it, in order, it sends
    exactly one sample for each, in order: what the conversion returned, or, marked as `CONCEALED`,
    a short echo of that and then silence. Law: never anything that was not converted.
    """

    def __init__(self, rate: int, encoding: Encoding, outbox: Outbox) -> None:
        self._encoding: Encoding = encoding
        self._outbox = outbox
        self._rate = rate
        self._fade = round(_FADE_S * rate)
        self._kept = round(HEARD_S * rate)
        self._said = np.zeros(0, np.float32)  # the newest converted audio that was sent
        self._echo = np.zeros(0, np.float32)  # what is left of its continuation
        self._spans: deque[_Span] = deque()
        self._position = 0
        self._seq = 0
        self._gap = Flag(0)
        self._after_loss = False
        self.pending = 0  # samples fed and not yet returned
        self.samples = 0  # sent since the start

    def begin(self, position: int, *, gap: bool) -> None:
        """The next sample told of is the one at `position`; nothing may be pending."""
        self._position = position
        self._gap = Flag.GAP if gap else Flag(0)
        self._said = self._echo = np.zeros(0, np.float32)

    def fed(self, count: int) -> None:
        """`count` samples went into the conversion."""
        if count:
            self._spans.append(_Span(count, lost=False))
            self.pending += count

    def lost(self, count: int) -> None:
        """`count` samples were dropped instead."""
        self._spans.append(_Span(count, lost=True))
        self._send_losses()

    def returned(self, audio: Audio) -> None:
        """The conversion returned `audio`, at most the pending samples."""
        self.pending -= len(audio)
        while len(audio):
            span = self._spans.popleft()
            part, audio = audio[: span.samples], audio[span.samples :]
            left = span.samples - len(part)
            if left:
                self._spans.appendleft(_Span(left, lost=False))
            self._send_voice(part)
            self._send_losses()

    def give_up(self) -> None:
        """The conversion failed: what was pending is lost."""
        spans = [_Span(span.samples, lost=True) for span in self._spans]
        self._spans = deque(spans)
        self.pending = 0
        self._send_losses()

    def _send_voice(self, audio: Audio) -> None:
        if self._after_loss:
            audio = fade_in(audio, self._fade)
            self._after_loss = False
        self._send(audio, Flag(0))
        newest = np.concatenate([self._said, audio[-self._kept :]])
        self._said = newest[max(0, len(newest) - self._kept) :]

    def _send_losses(self) -> None:
        while self._spans and self._spans[0].lost:
            count = self._spans.popleft().samples
            if not self._after_loss:
                self._echo = continuation(self._said, self._rate)
                self._said = self._said[:0]
            echo, self._echo = self._echo[:count], self._echo[count:]
            self._send(np.pad(echo, (0, count - len(echo))), Flag.CONCEALED)
            self._after_loss = True

    def _send(self, audio: Audio, flags: Flag) -> None:
        frame = encode(audio, self._encoding, self._seq, self._position, flags | self._gap)
        self._outbox.frame(frame, len(audio), voice=not flags & Flag.CONCEALED)
        self._gap = Flag(0)
        self._seq += 1
        self._position += len(audio)
        self.samples += len(audio)
