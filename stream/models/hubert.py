"""Content encoders that hear both ways in time: HuBERT and whatever has its shape, in a window."""

from pathlib import Path

import numpy as np

from stream.audio import CONTENT_HOP, Audio
from stream.device import Device
from stream.models.content import WARM_FRAMES, EncoderCard
from stream.models.onnx import OnnxModel

FRONT, BODY, WINDOW = "front.onnx", "body.onnx", "window.onnx"
OVERHANG = 80  # samples that a frame hears beyond its own 320
NORMED = 64  # outputs of the first convolution in a frame, over which it is normalised
NORM_FRAMES = 150  # content frames, 3 s, over which the first convolution is normalised at least


class HubertEncoder:
    """A HuBERT in two graphs: convolutions once per frame, the transformer on a window.

    Frame `m` hears the samples [320 m, 320 m + 400). What a step describes is the transformer's
    output over the last `context + n + delay` frames, fewer at the beginning of a stretch: a
    HuBERT on the utterance so far. So one step over a whole recording is the plain HuBERT of it.

    threads   of ONNX Runtime, for one call
    """

    whole_hops = True

    def __init__(self, folder: Path, card: EncoderCard, device: Device, threads: int = 1) -> None:
        self.card, self.dim = card, card.dim
        self._front = OnnxModel(
            folder / FRONT,
            {"audio": (1, None), "past": (1, 2, card.channels), "count": (1,)},
            {"frames": (None, card.width), "sums": (None, 2, card.channels)},
            device=device,
            threads=threads,
            heavy=True,
        )
        self._body = OnnxModel(
            folder / BODY,
            {"past": (None, card.width), "new": (None, card.width)},
            {"features": (None, card.dim)},
            device=device,
            threads=threads,
            heavy=True,
        )
        self.provider = self._body.provider

    def open(self, delay: int, context: int) -> "HubertHearing":
        """A stretch of speech: `delay` frames of look-ahead, `context` frames of past."""
        _check(delay, context)
        return HubertHearing(self, delay, context)

    def front(self, audio: Audio, past: Audio, count: int) -> tuple[Audio, Audio]:
        """The convolutions over audio [320 k + 80]: frames [k, width], sums [k, 2, channels].

        Each channel of the first is normalised over these frames and `count` outputs heard before,
        which sum to `past` [2, channels] (outputs, their squares). `sums` is what each frame adds.
        """
        found = self._front(
            audio=audio[np.newaxis].astype(np.float32, copy=False),
            past=past[np.newaxis].astype(np.float32, copy=False),
            count=np.array([count], np.float32),
        )
        frames, sums = (np.asarray(found[name], np.float32) for name in ("frames", "sums"))
        return frames, sums

    def body(self, past: Audio, new: Audio) -> Audio:
        """The transformer over frames [c, width], then [r, width]: the latter as [r, dim]."""
        return np.asarray(self._body(past=past, new=new)["features"], np.float32)


class HubertHearing:
    """What a HuBERT has heard of one stretch of speech: its newest frames and their statistics.

    Laws: a frame of the front end equals, but for rounding, that of one pass over all audio which
    normalises with the same statistics. The statistics are those of the frames heard so far, of
    the last `NORM_FRAMES` or of the window if that is longer; so a step that ends a stretch no
    longer than that normalises as one pass over the stretch does.
    """

    warm = WARM_FRAMES

    def __init__(self, encoder: HubertEncoder, delay: int, context: int) -> None:
        self._encoder, self._delay, self._context = encoder, delay, context
        card = encoder.card
        self._newest = np.zeros(0, np.float32)  # samples of the newest frame, heard again
        self._frames = np.zeros((0, card.width), np.float32)  # the last one is provisional
        self._sums = np.zeros((0, 2, card.channels), np.float32)

    def hear(self, audio: Audio) -> None:
        """[320 k] samples that need not be described; see `Hearing`."""
        if not len(audio):
            return
        heard = np.concatenate([self._newest, audio, np.zeros(OVERHANG, np.float32)])
        past = self._sums.sum(axis=0, dtype=np.float64)
        frames, sums = self._encoder.front(heard, past, len(self._sums) * NORMED)
        self._newest = audio[-CONTENT_HOP:].copy()
        window = self._context + len(audio) // CONTENT_HOP + self._delay
        self._frames = np.concatenate([self._frames[:-1], frames])[-window:]
        self._sums = np.concatenate([self._sums, sums[:-1]])[-max(window, NORM_FRAMES) :]

    def step(self, audio: Audio) -> Audio:
        """[320 n] samples at 16 kHz -> [n + delay, dim] features; see `Hearing`."""
        self.hear(audio)
        wanted = len(audio) // CONTENT_HOP + self._delay
        past, new = self._frames[:-wanted], self._frames[-wanted:]
        return _led(self._encoder.body(past, new), wanted)


class WindowEncoder:
    """A graph from 16 kHz audio to features of which nothing else is known, run on whole windows.

    Law: what a step describes is the graph's output over the last `context + n + delay` frames of
    audio, and 80 zeros for the newest frame; nothing is kept between steps but the audio.
    """

    whole_hops = True

    def __init__(self, folder: Path, card: EncoderCard, device: Device, threads: int = 1) -> None:
        self.card, self.dim = card, card.dim
        self._model = OnnxModel(
            folder / WINDOW,
            {"audio": (1, None)},
            {"features": (None, card.dim)},
            device=device,
            threads=threads,
            heavy=True,
        )
        self.provider = self._model.provider

    def open(self, delay: int, context: int) -> "WindowHearing":
        """A stretch of speech: `delay` frames of look-ahead, `context` frames of past."""
        _check(delay, context)
        return WindowHearing(self, delay, context)

    def describe(self, audio: Audio) -> Audio:
        """Audio [320 k + 80] at 16 kHz -> [k, dim] features."""
        heard = audio[np.newaxis].astype(np.float32, copy=False)
        return np.asarray(self._model(audio=heard)["features"], np.float32)


class WindowHearing:
    """The audio that a `WindowEncoder` has heard of one stretch of speech."""

    warm = WARM_FRAMES

    def __init__(self, encoder: WindowEncoder, delay: int, context: int) -> None:
        self._encoder, self._delay, self._context = encoder, delay, context
        self._audio = np.zeros(0, np.float32)

    def hear(self, audio: Audio) -> None:
        """[320 k] samples that need not be described; see `Hearing`."""
        window = len(audio) + (self._context + self._delay) * CONTENT_HOP
        heard = np.concatenate([self._audio, audio])[-window:]
        self._audio = heard.astype(np.float32, copy=False)

    def step(self, audio: Audio) -> Audio:
        """[320 n] samples at 16 kHz -> [n + delay, dim] features; see `Hearing`."""
        self.hear(audio)
        wanted = len(audio) // CONTENT_HOP + self._delay
        window = np.concatenate([self._audio, np.zeros(OVERHANG, np.float32)])
        return _led(self._encoder.describe(window)[-wanted:], wanted)


def open_encoder(
    folder: Path, card: EncoderCard, device: Device, threads: int = 1
) -> HubertEncoder | WindowEncoder:
    """The encoder in `folder` that hears in a window; raises `ModelError`."""
    kind = HubertEncoder if card.kind == "hubert" else WindowEncoder
    return kind(folder, card, device, threads)


def _check(delay: int, context: int) -> None:
    if delay < 0 or context < 0:
        raise ValueError(f"look-ahead and context are frames, not {delay} and {context}")


def _led(features: Audio, wanted: int) -> Audio:
    """[wanted, dim]: `features` behind zeros for the frames before the stretch began."""
    lead = np.zeros((wanted - len(features), features.shape[1]), np.float32)
    return np.concatenate([lead, features]) if len(lead) else features
