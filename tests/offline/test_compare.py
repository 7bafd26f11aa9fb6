"""Tests of `timbral compare`."""

from pathlib import Path

import halves
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from offline.compare import check_page, compare
from stream.audio import Audio
from stream.errors import ConfigError
from timbral import app

RATE = halves.RATE


def write(path: Path, samples: Audio) -> Path:
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


def test_a_louder_copy_differs_in_loudness_only(tmp_path: Path) -> None:
    voice = halves.voice(2.0)
    one, other = write(tmp_path / "one.wav", voice), write(tmp_path / "other.wav", 0.5 * voice)
    found = compare(one, other, tmp_path)
    a, b = (each.figures for each in found.looks)
    assert a.lufs - b.lufs == pytest.approx(6.02, abs=0.01)
    assert a.true_peak_db - b.true_peak_db == pytest.approx(6.02, abs=0.01)
    assert found.f0_correlation is not None
    assert found.f0_correlation > 0.99
    assert found.voicing_error < 0.1
    assert found.mel_db is not None
    assert 4.0 < found.mel_db < 6.1  # quiet bands are at the floor


def test_other_melodies_and_lengths_are_told(tmp_path: Path) -> None:
    voice = halves.voice(2.0)
    one = write(tmp_path / "one.wav", voice)
    other = write(tmp_path / "other.wav", voice[: RATE - RATE // 4][::-1].copy())
    found = compare(one, other, tmp_path)
    assert found.mel_db is None
    assert found.f0_correlation is None or found.f0_correlation < 0.9
    assert any("not equally long" in why for why in found.missing)
    assert any("timbral models pull speaker-ge2e" in why for why in found.missing)


def test_it_is_a_table_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMBRAL_HOME", str(tmp_path / "home"))
    sine = 1.2 * np.sin(2 * np.pi * 220.0 * np.arange(RATE) / RATE)
    one = write(tmp_path / "one.wav", sine)
    other = write(tmp_path / "other.wav", sine * 0.5)
    page = tmp_path / "both.html"
    run = CliRunner().invoke(app, ["compare", str(one), str(other), "--html", str(page)])
    assert run.exit_code == 0, run.output
    rows = {line.split("  ")[0].strip(): line.split()[-2:] for line in run.output.splitlines()}
    clipped, quiet = rows["samples at full scale"]
    assert int(clipped) > 0
    assert quiet == "0"
    assert [round(float(hz)) for hz in rows["median pitch, Hz"]] == pytest.approx([220, 220], abs=4)
    text = page.read_text("utf-8")
    assert 'src="one.wav"' in text
    assert 'src="other.wav"' in text
    assert text.count("data:image/png") == 2


@pytest.mark.parametrize(
    ("name", "why"), [("a.txt", "must end in"), ("no/a.html", "no folder"), ("b.html", "one of")]
)
def test_a_wrong_page_is_refused(tmp_path: Path, name: str, why: str) -> None:
    sound = write(tmp_path / "a.wav", np.zeros(100, np.float32)).rename(tmp_path / "b.html")
    with pytest.raises(ConfigError, match=why):
        check_page(tmp_path / name, (sound, sound))
