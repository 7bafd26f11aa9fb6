"""What it saves to convert several streams together: more of them fit."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from stream.audio import Audio
from stream.engine import Conversion
from stream.models.chorus import together
from stream.models.voice import Voice
from stream.profiles import lighter
from stream.timing import hum

pytestmark = pytest.mark.perf

STREAMS, HOPS, TURNS = 10, 20, 4
GAIN = 1.5  # times as many streams as one by one
RATE = 48_000


def test_streams_together_cost_much_less_than_one_by_one(starter: Voice) -> None:
    """In the shortest hops, with light pitch: as a full server converts. CPU time, in turns."""
    profile = lighter(starter.profiles["low"], light_f0=True, less_context=False)
    streams = [Conversion(starter, RATE, profile=profile, seed=i) for i in range(STREAMS)]
    hop = streams[0].hop
    sound = hum((STREAMS + 2 * TURNS * HOPS) * hop, RATE).reshape(-1, hop)

    def seconds(convert: Callable[[list[Callable[[], Audio]]], object], first: int) -> float:
        begun = time.thread_time()
        for k in range(first, first + HOPS):
            convert([partial(stream.step, sound[k + i]) for i, stream in enumerate(streams)])
        return time.thread_time() - begun

    def one_by_one(works: list[Callable[[], Audio]]) -> None:
        for work in works:
            together([work])

    for stream in streams:
        stream.step(np.concatenate(list(sound[:STREAMS])))
    alone, joined = [], []
    for turn in range(TURNS):
        alone.append(seconds(one_by_one, 2 * turn * HOPS))
        joined.append(seconds(together, (2 * turn + 1) * HOPS))
    assert min(alone) > GAIN * min(joined), f"{min(alone) / min(joined):.2f} times"
