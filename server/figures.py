"""The figures of a server at `/metrics`. docs/operating.md tells what to watch among them."""

import os
import sys
import time
from collections import Counter as Count
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from server.line import Line
from server.metrics import (
    LOADS,
    TIMES_S,
    Counter,
    Gauge,
    Histogram,
    Instrument,
    Registry,
    Summary,
)
from server.outlet import Outbox

AnyInstrument = TypeVar("AnyInstrument", bound=Instrument)


class Live(NamedTuple):
    """A stream that is open."""

    voice: str  # that it was opened with
    rate: int  # Hz
    line: Line
    outbox: Outbox


class Figures:
    """The instruments, by what they tell. Whoever knows a figure updates its instrument.

    stages    seconds of computing, `stage=`: content, f0, synth …; `hop` is all of one stream
    capacity  streams that the machine can bear, as far as that is known
    ladder    steps down in quality that are in force
    queue     jobs that wait for a worker, `device=`
    Law: counters never fall, also when the streams that they were counted in end.
    """

    def __init__(self) -> None:
        self.registry = Registry()
        self.ready = self._gauge("ready", "1 when streams are taken.")
        self.draining = self._gauge("draining", "1 from SIGTERM on.")
        self.build = self._gauge("build_info", "Always 1; the labels tell the version.")
        self.provider = self._gauge(
            "provider_info", "Always 1; the labels tell what the models run on."
        )
        self.streams = self._gauge("streams", "Open streams, by the voice they began with.")
        self.clients = self._gauge("client_streams", "Places taken, by the token's name.")
        self.capacity = self._gauge("streams_most", "Streams that are taken at once.")
        self.connections = self._gauge("connections", "Open connections of any kind.")
        self.ladder = self._gauge("degradation_level", "Steps down in quality that are in force.")
        self.load = self._gauge("load_ratio", "Part of the time that a device's workers are busy.")
        self.queue = self._gauge("queue_jobs", "Jobs that wait for a worker.")
        self.waiting = self._gauge("queue_seconds", "Audio that waits for conversion, in total.")
        self.lag = self._gauge("loop_lag_seconds", "How late the event loop was, at most, lately.")
        self.admitted = self._counter("streams_admitted_total", "Streams that were taken.")
        self.refused = self._counter("streams_refused_total", "Streams refused, by error code.")
        self.ended = self._counter("streams_ended_total", "Streams over, by closing code.")
        self.cut = self._counter("connections_refused_total", "Connections cut off at once.")
        self.requests = self._counter("requests_total", "HTTP requests answered, by status.")
        self.uploads = self._counter("uploads_total", "Voices sent, by status.")
        self.misses = self._counter("deadline_misses_total", "Hops done too late.")
        self.underruns = self._counter("underruns_total", "Hops that nothing was heard of.")
        self.stages = self._with(
            "stage_seconds", Summary(), "Computing of the last hops, by stage."
        )
        self.loads = self._with(
            "hop_load_ratio", Histogram(LOADS), "Computing time of a hop / its audio time."
        )
        self.waits = self._with(
            "hop_wait_seconds", Histogram(TIMES_S), "How long complete hops waited."
        )
        self._over: Count[tuple[str, str]] = Count()  # of streams that ended
        self._shown: Count[tuple[str, str]] = Count()  # what the counters hold
        self.registry.add("process_resident_memory_bytes", memory := Gauge(), "Memory in use.")
        self.registry.add("process_cpu_seconds_total", cpu := Counter(), "Processor time used.")
        self.registry.add("process_start_time_seconds", began := Gauge(), "When it began.")
        began.set(round(time.time(), 3))

        def measure() -> None:
            used = resident_bytes()
            if used is not None:
                memory.set(used)
            cpu.add(max(0.0, time.process_time() - cpu.value()))

        self.registry.before(measure)

    def show(self, live: Iterable[Live]) -> None:
        """Tell of the streams that are open now; before each reading."""
        live = list(live)
        for instrument in (self.streams, self.loads, self.waits):
            instrument.clear()
        for voice, count in Count(stream.voice for stream in live).items():
            self.streams.set(count, voice=voice)
        now = Count(self._over)
        for stream in live:
            now += self._counts(stream)
            self.loads.show(stream.line.metrics.loads, voice=stream.voice)
            self.waits.show(stream.line.metrics.waits, voice=stream.voice)
        for (kind, voice), count in (now - self._shown).items():
            (self.misses if kind == "misses" else self.underruns).add(count, voice=voice)
        self._shown = now
        self.waiting.set(sum(each.line.intake.queued / each.rate for each in live))

    def keep(self, stream: Live) -> None:
        """A stream ended: what it counted stays."""
        self._over += self._counts(stream)
        self.loads.keep(stream.line.metrics.loads, voice=stream.voice)
        self.waits.keep(stream.line.metrics.waits, voice=stream.voice)

    def _counts(self, stream: Live) -> Count[tuple[str, str]]:
        """What a stream has counted, by kind and voice."""
        metrics = stream.line.metrics
        return Count(
            {
                ("misses", stream.voice): metrics.deadline_misses,
                ("underruns", stream.voice): metrics.underruns + stream.outbox.dropped_frames,
            }
        )

    def _gauge(self, name: str, text: str) -> Gauge:
        return self._with(name, Gauge(), text)

    def _counter(self, name: str, text: str) -> Counter:
        return self._with(name, Counter(), text)

    def _with(self, name: str, instrument: AnyInstrument, text: str) -> AnyInstrument:
        self.registry.add(f"timbral_{name}", instrument, text)
        return instrument


def resident_bytes() -> int | None:
    """Memory of this process that is really there; None where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
