"""Figures: Prometheus' own parser reads what they are, and they never fall."""

import math
import mmap
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from calls import Talk
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from server.figures import Figures, Live, resident_bytes
from server.metrics import (
    LOADS,
    Buckets,
    Counter,
    Gauge,
    Histogram,
    Registry,
    StreamMetrics,
    Summary,
)
from server.protocol import Stop

Read = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(registry: Registry) -> Read:
    """Each line's value by its name and labels, as Prometheus' own reader understands it."""
    found: Read = {}
    for family in text_string_to_metric_families(registry.text()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, f"{key} stands there twice"
            found[key] = sample.value
    return found


@given(st.text(max_size=30), st.floats(allow_nan=False, allow_subnormal=False))
@settings(max_examples=30)
def test_any_label_and_value_is_read_back(label: str, value: float) -> None:
    registry = Registry()
    registry.add("a_gauge", gauge := Gauge(), 'A "help" with \\ and\na new line.')
    gauge.set(value, voice=label, other="x")
    assert read(registry) == {("a_gauge", (("other", "x"), ("voice", label))): value}


def test_each_kind_is_read_as_what_it_is() -> None:
    registry = Registry()
    registry.add("things_total", counter := Counter(), "Things.")
    registry.add("size", summary := Summary(window=100), "Sizes.")
    registry.add("load", histogram := Histogram((1.0, 2.0)), "Loads.")
    counter.add(2, kind="a")
    counter.add(kind="a")
    for k in range(1, 301):
        summary.observe(float(k))
    buckets = Buckets((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        buckets.observe(value)
    histogram.keep(buckets)
    histogram.show(buckets)
    kinds = {f.name: f.type for f in text_string_to_metric_families(registry.text())}
    assert kinds == {"things": "counter", "size": "summary", "load": "histogram"}
    found = read(registry)
    assert found["things_total", (("kind", "a"),)] == counter.value(kind="a") == 3
    assert found["size_count", ()] == 300
    assert found["size_sum", ()] == 300 * 301 / 2
    expected = np.quantile(np.arange(201, 301), [0.5, 0.95, 0.99])
    for name, value in zip(("0.5", "0.95", "0.99"), expected, strict=True):
        assert found["size", (("quantile", name),)] == pytest.approx(value)
    counts = [found["load_bucket", (("le", bound),)] for bound in ("1", "2", "+Inf")]
    assert counts == [4, 6, 8]
    assert (found["load_count", ()], found["load_sum", ()]) == (8, 24.0)


def test_names_are_unique_and_counters_are_called_so() -> None:
    registry = Registry()
    registry.add("a", Gauge(), "")
    with pytest.raises(ValueError, match="already"):
        registry.add("a", Gauge(), "")
    with pytest.raises(ValueError, match="_total"):
        registry.add("b", Counter(), "")
    with pytest.raises(ValueError, match="_total"):
        registry.add("b_total", Gauge(), "")
    assert math.isnan(Summary().quantiles()[0])


LOADS_SEEN = st.lists(st.floats(0, 5, allow_subnormal=False))  # ONNX Runtime flushes those


@given(LOADS_SEEN, LOADS_SEEN)
@settings(max_examples=20)
def test_buckets_added_are_what_one_would_have_counted(a: list[float], b: list[float]) -> None:
    parts, whole = [Buckets(LOADS), Buckets(LOADS)], Buckets(LOADS)
    for part, values in zip(parts, (a, b), strict=True):
        for value in values:
            part.observe(value)
            whole.observe(value)
    parts[0].add(parts[1])
    assert parts[0].counts == whole.counts
    assert parts[0].sum == pytest.approx(whole.sum)
    with pytest.raises(ValueError, match="other bounds"):
        whole.add(Buckets((1.0,)))


def stream(voice: str = "ada", **counts: int) -> Live:
    """An open stream that counted so much."""
    metrics = StreamMetrics(0.02)
    metrics.hop(0.01, 0.003, missed=False)
    for name in ("deadline_misses", "underruns"):
        setattr(metrics, name, counts.get(name, 0))
    line: Any = SimpleNamespace(metrics=metrics, intake=SimpleNamespace(queued=4_000))
    outbox: Any = SimpleNamespace(dropped_frames=counts.get("dropped", 0))
    return Live(voice, 8_000, line, outbox)


def test_counters_never_fall_when_streams_end() -> None:
    figures = Figures()
    streams = [stream(deadline_misses=2, underruns=1), stream(underruns=3, dropped=4)]
    other = stream("ben", deadline_misses=7)

    def told(live: list[Live]) -> tuple[float, ...]:
        figures.show(live)
        found = read(figures.registry)
        ada = (("voice", "ada"),)
        return (
            found["timbral_deadline_misses_total", ada],
            found["timbral_underruns_total", ada],
            found["timbral_hop_load_ratio_count", ada],
            found.get(("timbral_streams", ada), 0),
        )

    assert told([*streams, other]) == (2, 8, 2, 2)
    assert told([*streams, other]) == (2, 8, 2, 2)
    figures.keep(streams[0])
    assert told([streams[1], other]) == (2, 8, 2, 1)
    streams[1].line.metrics.deadline_misses += 5
    assert told([streams[1], other]) == (7, 8, 2, 1)
    streams[1].line.metrics.underruns += 2  # between two readings, and then it ends
    figures.keep(streams[1])
    figures.keep(other)
    assert told([]) == (7, 10, 2, 0)
    ben = read(figures.registry)["timbral_deadline_misses_total", (("voice", "ben"),)]
    assert ben == 7


def test_figures_of_a_real_conversation() -> None:
    talk, figures = Talk(compute=0.005), Figures()
    talk.tell('{"type":"start","voice":"ada","sample_rate":8000,"encoding":"f32le"}')
    talk.say(1600)
    assert talk.call.line is not None
    figures.show([Live("ada", 8_000, talk.call.line, talk.call.outbox)])
    found = read(figures.registry)
    ada = (("voice", "ada"),)
    assert found["timbral_hop_load_ratio_count", ada] == 10
    assert found["timbral_hop_load_ratio_sum", ada] == pytest.approx(10 * 0.005 / 0.02)
    assert found["timbral_queue_seconds", ()] == 0
    talk.call.receive(Stop().model_dump_json(), talk.now)


def test_what_the_scheduler_and_others_know_is_pulled_at_each_reading() -> None:
    figures, depth = Figures(), [3]
    figures.registry.before(lambda: figures.queue.set(depth[0], device="cpu"))
    figures.stages.observe(0.004, stage="content")
    key = "timbral_queue_jobs", (("device", "cpu"),)
    assert read(figures.registry)[key] == 3
    depth[0] = 5
    found = read(figures.registry)
    assert found[key] == 5
    assert found["timbral_stage_seconds", (("quantile", "0.99"), ("stage", "content"))] == 0.004


def test_the_process_tells_its_memory_and_time() -> None:
    figures = Figures()
    before = read(figures.registry)
    kept = mmap.mmap(-1, 50_000_000)  # fresh memory: an array may get what another left
    np.frombuffer(kept, np.uint8)[:] = 1
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    after = read(figures.registry)
    cpu = "process_cpu_seconds_total", ()
    assert 0.02 <= after[cpu] - before[cpu] < 5.0
    assert abs(after["process_start_time_seconds", ()] - time.time()) < 600
    memory = "process_resident_memory_bytes", ()
    if resident_bytes() is not None:
        assert after[memory] - before[memory] > 0.9 * len(kept)
