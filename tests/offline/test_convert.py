from pathlib import Path

import numpy as np
import pytest
import soundfile

from offline.convert import convert
from stream.controls import Controls
from stream.device import CPU
from stream.engine import Conversion
from stream.errors import AudioError, ConfigError
from stream.files import SoundFile
from stream.models.store import Store
from stream.models.voice import Voice
from stream.profiles import STEADY

SPEECH = Path(__file__).parents[1] / "speech" / "sense-and-sensibility-0880.wav"


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return Store(tmp_path_factory.mktemp("home")).load("starter", CPU)


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """1.1 s of speech at 48 kHz in two channels."""
    x = SoundFile(SPEECH, least_rate=48_000).read()[:52_801]
    soundfile.write(tmp_path / "in.flac", np.stack([x, x], axis=1), 48_000)
    return tmp_path / "in.flac"


def test_the_result_is_as_long_and_is_what_the_live_engine_says(
    short: Path, starter: Voice
) -> None:
    out = short.with_name("out.wav")
    summary = convert(short, out, starter)
    sound, spoken = SoundFile(short).read(), SoundFile(out).read()
    assert len(spoken) == len(sound) == 52_801
    assert summary.seconds == pytest.approx(1.1, abs=1e-3)
    conversion = Conversion(starter, 48_000, profile=STEADY["low"])
    live = np.concatenate([conversion.step(sound), conversion.flush()])
    assert np.max(np.abs(live)) > 0.01
    np.testing.assert_allclose(spoken, live, atol=1e-3 * float(np.max(np.abs(live))) + 2**-15)


def test_nothing_of_the_voice_is_lost_to_a_low_rate(tmp_path: Path, starter: Voice) -> None:
    summary = convert(SPEECH, tmp_path / "out.ogg", starter)
    file = SoundFile(tmp_path / "out.ogg")
    assert summary.rate == file.source_rate == starter.card.sample_rate > 16_000
    frames = soundfile.info(str(SPEECH)).frames
    assert file.length == -(-frames * summary.rate // 16_000)


def test_controls_and_seed_reach_the_engine(short: Path, starter: Voice) -> None:
    def spoken(**settings: float) -> bytes:
        seed = int(settings.pop("seed", 0))
        out = short.with_name("out.wav")
        convert(short, out, starter, controls=Controls(**settings), seed=seed)  # pyright: ignore[reportArgumentType]
        return out.read_bytes()

    plain = spoken()
    assert spoken() == plain
    assert spoken(pitch=4.0) != plain
    assert spoken(seed=1) != plain


def test_progress_is_told_and_ends_at_the_end(short: Path, starter: Voice) -> None:
    told: list[tuple[int, int]] = []
    convert(short, short.with_name("out.mp3"), starter, progress=lambda *done: told.append(done))
    assert told == sorted(told)
    assert told[-1] == (52_801, 52_801)


def test_what_cannot_be_done_leaves_everything_as_it_was(short: Path, starter: Voice) -> None:
    before = short.read_bytes()
    with pytest.raises(ConfigError, match="the file to read"):
        convert(short, short, starter)
    with pytest.raises(ConfigError, match="must end in"):
        convert(short, short.with_name("out.txt"), starter)
    with pytest.raises(AudioError, match="No file"):
        convert(short.with_name("none.wav"), short.with_name("out.wav"), starter)
    bad = short.with_name("bad.wav")
    soundfile.write(bad, np.full(9000, np.nan, np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="no sample"):
        convert(bad, short.with_name("out.wav"), starter)
    assert sorted(path.name for path in short.parent.iterdir()) == ["bad.wav", "in.flac"]
    assert short.read_bytes() == before
