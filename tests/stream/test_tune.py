import numpy as np
import pytest

from stream import bench, tune
from stream.audio import frame_levels
from stream.controls import Controls
from stream.device import CPU
from stream.models.voice import Voice
from stream.profiles import STEADY, Profile
from stream.timing import Laps, Report, Spread, hum, measure


def report(profile: Profile, part: float) -> Report:
    """A profile whose p99 takes `part` of its hop."""
    p99 = part * profile.hop_ms
    spread = Spread(0.5 * p99, 0.9 * p99, p99)
    return Report(profile, 60.0, {"content": spread}, spread, 0.5 * part)


def chosen(voice: Voice, monkeypatch: pytest.MonkeyPatch, parts: dict[str, float]) -> tune.Choice:
    def pretend(_voice: Voice, profile: Profile, _seconds: float, **_: object) -> Report:
        return report(profile, parts[profile.name])

    monkeypatch.setattr(tune, "measure", pretend)
    return tune.choose(voice)


def test_the_lowest_latency_that_leaves_room_is_chosen(
    starter: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(starter, monkeypatch, {"low": 0.69}).profile.name == "low"
    choice = chosen(starter, monkeypatch, {"low": 0.71, "balanced": 0.5})
    assert choice.profile.name == "balanced"
    assert choice.why == "low takes 71% of its 20 ms hop; balanced takes 50% of its 40 ms hop"


def test_a_machine_too_slow_for_all_is_told_so(
    starter: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = chosen(starter, monkeypatch, dict.fromkeys(STEADY, 1.5))
    assert choice.profile.name == "relaxed"
    assert choice.why.endswith("this machine is too slow to be always in time")


def test_a_profile_that_a_shorter_one_already_overruns_is_not_measured(
    starter: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def pretend(_voice: Voice, profile: Profile, _seconds: float, **_: object) -> Report:
        asked.append(profile.name)
        return report(profile, 3.0 if profile.name == "low" else 0.5)  # low: p50 is half of p99

    monkeypatch.setattr(tune, "measure", pretend)
    assert tune.choose(starter).profile.name == "quality"
    assert asked == ["low", "quality"]


def test_bench_says_what_auto_would_take(starter: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "measure", lambda _v, profile, _s, **_: report(profile, 0.5))  # pyright: ignore
    *_, (last, in_time) = bench.bench(starter, CPU, list(STEADY.values()), 1.0, Controls())
    assert "`auto` takes low here: low takes 50% of its 20 ms hop" in last
    assert in_time


def test_every_stage_is_measured(starter: Voice) -> None:
    found = measure(starter, STEADY["quality"], 1.0, controls=Controls())
    assert set(found.stages) == {"input", "content", "f0", "index", "synth", "output"}
    assert 0.0 < sum(stage.p50 for stage in found.stages.values()) <= found.whole.p99
    assert found.whole.p50 <= found.whole.p95 <= found.whole.p99
    assert found.rtf > 0.0


def test_percentiles_are_in_milliseconds() -> None:
    spread = Spread.of([0.001 * i for i in range(101)])
    assert (spread.p50, spread.p95, spread.p99) == pytest.approx((50.0, 95.0, 99.0))
    assert Spread.of([]) == Spread(0.0, 0.0, 0.0)


def test_laps_add_up_by_stage() -> None:
    laps = Laps()
    for stage in ("f0", "synth", "f0"):
        with laps(stage):
            pass
    assert {stage: len(times) for stage, times in laps.seconds.items()} == {"f0": 2, "synth": 1}


def test_the_table_says_when_a_profile_is_too_fast_for_the_machine() -> None:
    low = STEADY["low"]
    assert "| **whole hop** | 5.00 | 9.00 | 10.00 | 20 |" in bench.table(report(low, 0.5))
    assert "too fast for this machine" not in bench.table(report(low, 0.5))
    assert "too fast for this machine" in bench.table(report(low, 1.1))


def test_the_header_names_machine_and_software(starter: Voice) -> None:
    head = bench.header(starter, CPU)
    for word in ("starter, 24000 Hz", "CPUExecutionProvider", "onnxruntime", "numpy", "Python"):
        assert word in head


def test_the_made_up_voice_keeps_the_gate_open() -> None:
    levels = frame_levels(hum(48_000, 48_000), 960)
    assert levels.min() > -40.0
    assert np.abs(hum(48_000, 48_000)).max() <= 1.0
