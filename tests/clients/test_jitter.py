import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from arrivals import Course, play, signal, stall
from golden.make_jitter import FOLDER, TRACES, trace
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.jitter import CAPACITY_S, JitterBuffer, JitterReport, JitterSettings
from stream.audio import Audio

RATE = 48_000
SETTLED_MS = 15.0  # a block of 5 ms, the margin, and what the target has not yet lost


def run(course: Course) -> tuple[Audio, list[JitterReport]]:
    blocks, reports = zip(*play(JitterBuffer(course.rate), iter(course), hum), strict=True)
    return np.concatenate(blocks), list(reports)


def hum(first: int, n: int) -> Audio:
    """A sine of 200 Hz: no two neighbours differ by more than 1.4 % of full scale."""
    return (0.5 * np.sin(2 * np.pi * 200 * np.arange(first, first + n) / RATE)).astype(np.float32)


def steepest(sound: Audio) -> float:
    return float(np.max(np.abs(np.diff(sound))))


def at(reports: list[JitterReport], second: float, block: int = 240) -> JitterReport:
    return reports[int(second * RATE / block)]


@pytest.mark.parametrize("name", TRACES)
def test_a_golden_trace_is_followed(name: str) -> None:
    known = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    now = json.loads(json.dumps(trace(*TRACES[name], name)))
    assert now["events"] == known["events"]
    assert np.abs(np.array(now["heard"]) - np.array(known["heard"])).max() < 1e-5


def test_no_golden_trace_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*")} == set(TRACES)


@settings(max_examples=25)
@given(
    size=st.integers(1, 700),
    count=st.integers(10, 40),
    sizes=st.lists(st.sampled_from([1, 63, 64, 65, 480]), min_size=1, max_size=5),
)
def test_packets_in_time_are_played_sample_by_sample(
    size: int, count: int, sizes: list[int]
) -> None:
    """Of one size: a larger one than those before it is late, until the target has learnt it."""
    packets = [size] * count
    buffer = JitterBuffer(RATE, JitterSettings(slack_ms=1000.0, resume_ms=1000.0))
    clock = end = read = played = 0  # its speed is 1, and it skips nothing
    while packets:
        while packets and end + packets[0] <= clock:
            buffer.write(end, signal(end, packets[0]))
            end += packets.pop(0)
        out = np.zeros(sizes[read % len(sizes)], np.float32)
        head, was_playing = int(buffer.head), buffer.report.playing
        buffer.read(out)
        clock, read = clock + len(out), read + 1
        if was_playing and played > 240:  # it has faded in
            assert np.array_equal(out, signal(head, len(out)))
        played += len(out) if buffer.report.playing else 0
        assert buffer.head == (head + len(out) if buffer.report.playing else head)
    assert (buffer.report.underruns, buffer.report.skips) == (0, 0)


def test_the_delay_settles_near_what_the_packets_need() -> None:
    for packet in (240, 960, 4800):  # their size does not matter, only how late they are
        _, reports = run(Course(packet=packet))
        assert reports[-1].delay_ms < SETTLED_MS
        assert (reports[-1].underruns, reports[-1].skips) == (0, 0)


def test_a_reader_with_long_blocks_gets_the_delay_that_it_needs() -> None:
    _, reports = run(Course(block=960))
    assert 15.0 < reports[-1].delay_ms < 20.0 + SETTLED_MS
    assert reports[-1].underruns == 0


def test_the_target_follows_the_lateness_of_nearly_all_packets() -> None:
    late = np.random.default_rng(0).uniform(0.0, 0.04, 20_000)
    course = Course(packet=960, delay=lambda second: late[int(second * 50)])
    _, reports = run(course)
    assert 25.0 < reports[-1].target_ms < 50.0
    assert reports[-1].underruns <= 5


def test_the_target_rises_at_once_and_falls_slowly() -> None:
    late = [0.03 if 200 < packet < 225 and packet % 5 == 0 else 0.0 for packet in range(600)]
    _, reports = run(Course(packet=960, delay=lambda second: late[int(second * 50)]))
    before, after, soon, later = (at(reports, t).target_ms for t in (3.9, 4.6, 5.1, 9.9))
    assert after > before + 15.0
    assert after > soon > 0.7 * after > later


def test_after_a_stall_the_delay_is_what_it_was() -> None:
    for packet in (240, 960):
        _, reports = run(Course(packet=packet, delay=stall(4.0, 0.25)))
        before, after = at(reports, 3.9), at(reports, 4.6)
        assert after.delay_ms < before.delay_ms + 5.0
        assert after.underruns == after.skips == 1
        assert after.skipped == pytest.approx(0.25 * RATE, abs=0.04 * RATE)


def test_a_server_that_catches_up_slowly_after_a_stall_counts_once_too() -> None:
    def delay(second: float) -> float:
        return max(0.0, 0.25 - 0.6 * (second - 4.0)) if 4.0 < second < 4.5 else 0.0

    _, reports = run(Course(packet=960, delay=delay))
    assert at(reports, 5.5).delay_ms < at(reports, 3.9).delay_ms + 10.0
    assert at(reports, 9.0).skips == 1
    assert at(reports, 9.0).underruns <= 2


@pytest.mark.parametrize("ppm", [-300.0, 300.0])
def test_clocks_that_differ_cost_nothing_but_a_little_speed(ppm: float) -> None:
    sound, reports = run(Course(seconds=25.0, ppm=ppm))
    assert reports[-1].delay_ms < SETTLED_MS
    assert reports[-1].underruns <= 1
    assert reports[-1].skips == 0
    assert steepest(sound) < 0.02
    speeds = np.array([report.speed for report in reports[len(reports) // 2 :]])
    assert np.abs(speeds - 1.0).max() < 0.006
    assert (np.mean(speeds) - 1.0) * ppm < 0, "it does not follow the packets' clock"


def test_the_speed_stays_within_its_limit() -> None:
    late = np.random.default_rng(1).exponential(0.012, 2000)
    _, reports = run(Course(delay=lambda second: late[int(second * 200) % 2000]))
    assert max(abs(report.speed - 1.0) for report in reports) <= 0.02 + 1e-12


def test_what_piled_up_before_the_first_read_is_dropped() -> None:
    _, reports = run(replace(Course(), first=0.5))
    assert at(reports, 0.6).delay_ms < 30.0
    assert reports[-1].skipped == pytest.approx(0.48 * RATE, abs=0.02 * RATE)
    assert reports[-1].underruns == 0


def test_a_reader_that_slept_goes_on_with_the_newest() -> None:
    sound, reports = run(Course(pause=(4.0, 0.5)))
    before, after = at(reports, 3.9), at(reports, 4.1)
    assert after.delay_ms < before.delay_ms + 5.0
    assert after.underruns == 0
    assert after.skips == 1
    assert steepest(sound) < 0.02


def test_a_stream_that_moved_for_good_is_followed() -> None:
    for shift in (0.1, 3.0):
        _, reports = run(Course(delay=lambda second, s=shift: s if second > 3.0 else 0.0))
        assert reports[-1].delay_ms < SETTLED_MS
        assert reports[-1].underruns == 1
        assert reports[-1].playing


def test_holes_fade_out_and_in() -> None:
    sound, reports = run(Course(delay=stall(4.0, 0.25)))
    assert reports[-1].underruns == 1
    hole = sound[4 * RATE : int(4.3 * RATE)]
    assert np.count_nonzero(hole == 0.0) > 0.2 * RATE
    assert steepest(sound) < 0.02


def test_a_lost_packet_is_silence_and_a_doubled_one_is_heard_once() -> None:
    buffer = JitterBuffer(RATE)
    for position in (0, 240, 480, 480, 960):
        buffer.write(position, signal(position, 240))
    out = np.zeros(2400, np.float32)
    buffer.read(out)
    heard = np.trim_zeros(out)[:720]
    assert np.array_equal(heard[240:], signal(240, 480))


def test_a_far_jump_ahead_is_followed() -> None:
    buffer = JitterBuffer(RATE)
    out = np.zeros(240, np.float32)
    far = int(3 * CAPACITY_S * RATE)
    for block in range(400):
        position = block * 240 + (far if block > 200 else 0)
        buffer.write(position, signal(position, 240))
        buffer.read(out)
    assert buffer.report.delay_ms < 30.0
    assert buffer.head > far
    assert out.any()


def test_nothing_written_is_silence() -> None:
    buffer = JitterBuffer(RATE)
    out = np.ones(4000, np.float32)
    buffer.read(out)
    assert not out.any()
    buffer.write(0, np.zeros(0, np.float32))
    buffer.read(out)
    assert not buffer.report.playing


def test_a_rate_of_nothing_is_a_programmers_mistake() -> None:
    with pytest.raises(ValueError, match="rate"):
        JitterBuffer(0)


def test_the_traces_are_small() -> None:
    assert sum(path.stat().st_size for path in Path(FOLDER).glob("*")) < 400_000
