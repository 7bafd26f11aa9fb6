"""The separator that everybody gets, on the song of the tests. Its weights are fetched once."""

from pathlib import Path

import numpy as np
import pytest
from assets import home_with
from separators import taken_apart
from song import sdr, song

from offline.separate.files import separate
from offline.separate.models import ASSET, open_separator
from offline.separate.protocol import Separator
from offline.sound import Sound, read, write
from stream.errors import AssetMissing

LEAST_GAIN = 5.0  # dB that the voice must come nearer to the true one than the song itself is


def spleeter() -> Separator:
    return open_separator(["spleeter"], home_with(ASSET), threads=1)


@pytest.mark.slow
def test_the_voice_comes_out_of_the_song() -> None:
    true = song()
    stems = taken_apart(spleeter(), true.mix)
    for name, stem in (("vocals", true.voice), ("instrumental", true.band)):
        assert sdr(stem, stems[name]) > sdr(stem, true.mix) + LEAST_GAIN, name
    np.testing.assert_allclose(stems["vocals"] + stems["instrumental"], true.mix, atol=1e-6)


@pytest.mark.slow
def test_a_song_in_pieces_comes_out_as_one_in_a_single_window(tmp_path: Path) -> None:
    """Where two windows meet nothing is heard: the joined stems are those of one window."""
    true = song()
    x = true.mix[: 6 * true.rate]
    late = np.concatenate([np.zeros((7 * true.rate, 2), np.float32), x])  # now over two windows
    write(tmp_path / "late.wav", Sound(late, true.rate))
    paths = separate(tmp_path / "late.wav", tmp_path / "stems", spleeter())
    pieces = read(paths["vocals"]).samples[7 * true.rate :]
    single = taken_apart(spleeter(), x)["vocals"]
    assert sdr(single, pieces) > 20
    edges = np.abs(np.diff(pieces, axis=0)).max()
    assert edges < 1.5 * np.abs(np.diff(single, axis=0)).max()


@pytest.mark.slow
def test_a_telephone_s_song_keeps_its_rate(tmp_path: Path) -> None:
    true = song()
    write(tmp_path / "song.wav", Sound(true.mix[: 3 * true.rate, :1], true.rate))
    narrow = read(tmp_path / "song.wav", 8_000)
    write(tmp_path / "phone.wav", narrow)
    paths = separate(tmp_path / "phone.wav", tmp_path, spleeter())
    stems = {name: read(path) for name, path in paths.items()}
    for stem in stems.values():
        assert (stem.rate, stem.samples.shape) == (8_000, (len(narrow.samples), 2))
    both = stems["vocals"].samples + stems["instrumental"].samples
    np.testing.assert_allclose(both[:, :1], narrow.samples, atol=1e-6)
    assert np.std(stems["vocals"].samples) > 0.1 * np.std(narrow.samples)


def test_without_its_weights_the_way_to_them_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssetMissing, match="timbral models pull spleeter-2stems"):
        open_separator(["spleeter"], tmp_path)
