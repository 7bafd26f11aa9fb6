"""Converted audio finds its place; samples survive the wire."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.conceal import continuation
from server.config import Limits
from server.metrics import StreamMetrics
from server.outlet import Outbox, Outlet
from server.pcm import decode, encode, fade_in, sound
from server.protocol import AudioFrame, Encoding, Flag, Pong
from stream.audio import Audio

RATE = 8_000


def sent(outbox: Outbox) -> list[AudioFrame]:
    """The audio frames that wait in `outbox`."""
    frames: list[AudioFrame] = []
    while outbox:
        frame = outbox.take(0.0)
        assert isinstance(frame, bytearray)
        frames.append(AudioFrame.unpack(bytes(frame)))
    return frames


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50)), max_size=20), st.integers(0, 100))
def test_every_sample_told_of_is_sent_once_in_order(
    told: list[tuple[bool, int]], held: int
) -> None:
    outbox = Outbox(Limits())
    outlet = Outlet(RATE, "f32le", outbox)
    outlet.begin(1000, gap=False)
    inside = np.zeros(0, np.float32)
    where: list[float] = []
    for lost, count in told:
        if lost:
            outlet.lost(count)
            where += [0.0] * count
            continue
        said = np.arange(len(where) + 1, len(where) + 1 + count, dtype=np.float32)
        outlet.fed(count)
        where += said.tolist()
        inside = np.concatenate([inside, said])
        ready = max(0, len(inside) - held)
        outlet.returned(inside[:ready])
        inside = inside[ready:]
    outlet.returned(inside)
    assert outlet.pending == 0
    frames = sent(outbox)
    heard = np.concatenate([decode(f.pcm, "f32le") for f in frames] or [inside[:0]])
    assert len(heard) == len(where) == outlet.samples
    silent = np.array(where) == 0
    assert (heard[~silent] <= np.array(where)[~silent]).all()
    since = 0  # the echo of what was said is over after 30 ms
    for at, lost in enumerate(silent):
        since = since + 1 if lost else 0
        assert not heard[at] if since > 240 else abs(heard[at]) <= len(where)
    position = 1000
    for seq, frame in enumerate(frames):
        assert (frame.seq, frame.position) == (seq, position)
        position += frame.samples("f32le")
        assert (Flag.CONCEALED in frame.flags) == bool(silent[frame.position - 1000])


def test_what_the_conversion_never_returned_is_concealed() -> None:
    outbox = Outbox(Limits())
    outlet = Outlet(RATE, "f32le", outbox)
    outlet.begin(0, gap=True)
    outlet.fed(100)
    outlet.returned(np.ones(60, np.float32))
    outlet.give_up()
    first, second = sent(outbox)
    assert (first.samples("f32le"), first.flags) == (60, Flag.GAP)
    assert (second.samples("f32le"), second.flags) == (40, Flag.CONCEALED)
    echo = decode(second.pcm, "f32le")
    assert echo[0] == 1.0
    assert (np.diff(echo) < 0.0).all()


def test_the_outbox_keeps_the_newest_audio_and_every_message() -> None:
    outbox = Outbox(Limits())
    outbox.bound = 100
    for seq in range(10):
        outbox.message(Pong(t=seq))
        outbox.frame(encode(np.ones(30, np.float32), "s16le", seq, seq * 30, Flag(0)), 30)
    assert outbox.audio == 90
    assert (outbox.dropped_frames, outbox.dropped_samples) == (7, 210)
    items = [outbox.take(0.0) for _ in range(13)]
    assert not outbox
    frames = [AudioFrame.unpack(bytes(x)) for x in items if isinstance(x, bytearray)]
    assert [f.seq for f in frames] == [7, 8, 9]
    assert [f.flags for f in frames] == [Flag.CONCEALED | Flag.GAP, Flag(0), Flag(0)]
    assert sum(isinstance(x, str) for x in items) == 10


@given(st.binary(max_size=100).filter(lambda b: len(b) % 2 == 0))
def test_s16le_survives_the_engine_bit_for_bit(pcm: bytes) -> None:
    frame = encode(decode(pcm, "s16le"), "s16le", 0, 0, Flag(0))
    assert AudioFrame.unpack(bytes(frame)).pcm == pcm


@given(
    st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False),
        max_size=20,
    )
)
def test_f32le_survives_the_engine_bit_for_bit(values: list[float]) -> None:
    pcm = np.array(values, "<f4").tobytes()
    frame = encode(decode(pcm, "f32le"), "f32le", 0, 0, Flag(0))
    assert AudioFrame.unpack(bytes(frame)).pcm == pcm


def test_s16le_clips_what_is_too_loud() -> None:
    loud = np.array([-9.0, -1.0, 1.0, 9.0, 3e38], np.float32)
    frame = AudioFrame.unpack(bytes(encode(loud, "s16le", 0, 0, Flag(0))))
    assert np.frombuffer(frame.pcm, "<i2").tolist() == [-32768, -32768, 32767, 32767, 32767]


@pytest.mark.parametrize("encoding", ["s16le", "f32le"])
def test_zeros_and_only_zeros_are_flagged_as_silence(encoding: Encoding) -> None:
    for last, silent in [(0.0, True), (-0.0, True), (0.5, False)]:
        frame = encode(np.array([0, last], np.float32), encoding, 0, 0, Flag.GAP)
        flags = AudioFrame.unpack(bytes(frame)).flags
        assert flags == (Flag.GAP | Flag.SILENCE if silent else Flag.GAP)


@pytest.mark.parametrize(
    ("samples", "good"),
    [([], True), ([8, -8], True), ([8.1], False), ([np.nan], False), ([1, -np.inf], False)],
)
def test_sound_is_numbers_within_reason(samples: list[float], good: bool) -> None:
    assert sound(np.array(samples, np.float32)) == good


@pytest.mark.parametrize("n", [0, 1, 39, 40, 41, 100])
def test_a_fade_runs_from_silence_to_the_sound(n: int) -> None:
    ones: Audio = np.ones(n, np.float32)
    rising = fade_in(ones, 40)
    assert (np.diff(rising) >= 0).all()
    assert n == 0 or rising[0] == 0
    assert (rising[40:] == 1).all()
    assert (ones == 1).all()


def test_percentiles_look_back_ten_seconds() -> None:
    metrics = StreamMetrics(0.1)
    for _ in range(100):
        metrics.hop(0.090, 0.0, missed=True)
    for k in range(100):
        metrics.hop(0.001 * (k + 1), 0.002, missed=False)
    stats = metrics.stats("low", 480, 0)
    assert stats.compute_ms.p50 == pytest.approx(50.5)
    assert stats.compute_ms.p99 == pytest.approx(99.01)
    assert (stats.queue_ms, stats.deadline_misses, stats.latency_samples) == (2.0, 100, 480)
    assert stats.rtf == pytest.approx(0.505)


def test_figures_before_the_first_hop_are_zero() -> None:
    stats = StreamMetrics(0.02).stats("low", 480, 0)
    assert (stats.compute_ms.p99, stats.queue_ms, stats.rtf, stats.underruns) == (0, 0, 0, 0)


@pytest.mark.parametrize("hz", [90.0, 160.0, 330.0])
def test_an_echo_goes_on_with_the_voice_and_ends_in_silence(hz: float) -> None:
    """No click: the steps from sample to sample are never larger than the voice's own."""
    t = np.arange(6_000) / 48_000
    parts = [np.sin(2 * np.pi * k * hz * t + k) / k for k in range(1, 9)]
    voice = np.sum(parts, axis=0).astype(np.float32)
    echo = continuation(voice[:3_000], 48_000)
    assert len(echo) == 1_440
    both = np.concatenate([voice[:3_000], echo])
    assert np.abs(np.diff(both)).max() < 1.1 * np.abs(np.diff(voice)).max()
    assert abs(echo[-1]) < 1e-6
    going_on = voice[3_000:3_240]  # 5 ms
    alike = np.dot(echo[:240], going_on) / np.linalg.norm(echo[:240]) / np.linalg.norm(going_on)
    assert alike > 0.9


def test_after_silence_the_echo_is_silent() -> None:
    for heard in (np.zeros(0, np.float32), np.zeros(5_000, np.float32)):
        assert not continuation(heard, 48_000).any()
