"""What covers cost: computing in proportion to the song, memory that does not grow with it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import halves
import numpy as np
import pytest
import soundfile

from offline.convert import convert, pitch_of, settled
from offline.cover.settings import SUNG
from stream.device import CPU
from stream.models.store import Store

pytestmark = pytest.mark.perf

SECONDS = 3.0
CONVERSION = 0.4  # seconds of computing for a second of song, on one core
PITCH = 0.2

COVER = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:2]
from offline.cover.make import Wanted, make_cover
from offline.cover.settings import checked
from offline.cache import Cache
from offline import curve
import halves

curve.PIECE_SECONDS = 10  # instead of a minute: so that shorter songs show what grows
folder, name = Path(sys.argv[2]), sys.argv[3]
make_cover(folder / f"{name}.wav", checked({}), Wanted(folder / f"{name}.flac"),
           tools=halves.tools(folder / "home"), cache=Cache(folder / name), workers=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_conversion_and_its_pitch_leave_room(tmp_path: Path) -> None:
    song = halves.write_song(tmp_path / "in.wav", halves.voice(SECONDS), halves.band(SECONDS))
    voice = Store(tmp_path / "home").load("starter", CPU)
    begun = time.process_time()  # other processes take none of this time
    curve = pitch_of(song, voice.detectors, SUNG)
    heard = time.process_time()
    controls = settled(SUNG, curve, voice, keep_key=True)
    convert(song, tmp_path / "out.wav", voice, controls=controls, curve=curve, channels="placed")
    said = time.process_time()
    assert (heard - begun) / SECONDS < PITCH
    assert (said - heard) / SECONDS < CONVERSION


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="tells no peak of memory")
def test_a_longer_song_takes_no_more_memory(tmp_path: Path) -> None:
    def peak(name: str, seconds: float) -> float:
        """MB that a cover takes of somebody who says a few words, then lets the band play."""
        blocks = [halves.voice(2.0), *np.zeros((round(seconds) - 2, halves.RATE), np.float32)]
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", halves.RATE, 2, "FLOAT") as file:
            for left in blocks:  # a child's peak begins with what its parent holds
                file.write(np.stack([left, halves.band(len(left) / halves.RATE)], axis=1))
        tests, root = Path(halves.__file__).parent, Path(halves.__file__).parents[1]
        run = subprocess.run(
            [sys.executable, "-c", COVER, str(tests), str(tmp_path), name],
            env=os.environ | {"PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        )
        return float(run.stdout.split()[-1]) / 1000.0

    shorter, longer = peak("shorter", 20.0), peak("longer", 80.0)
    one_copy = 60.0 * halves.RATE * 2 * 4 / 1e6
    assert longer - shorter < 0.6 * one_copy
