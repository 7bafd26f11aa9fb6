import errno
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from shelf import Shelf, serving
from typer.testing import CliRunner

from stream.errors import AssetMissing, ConfigError, DownloadFailed
from stream.importer.detectors import add_detector
from stream.importer.download import Patience
from stream.importer.encoders import add_encoder
from stream.importer.pull import BASE_CARD, Convert, Source, add_base, converter, pull
from stream.models.assets import Kind, Manifest, installed, manifest, missing
from timbral import app

FILES = {
    f"/{name}": np.random.default_rng(i).bytes(5000 + i)
    for i, name in enumerate(["shared/net.bin", "shared/config.json", "old.pt", "G.pth", "D.pth"])
}


def described(url: str, **changes: Any) -> Manifest:
    """A manifest of `FILES`, which are served at `url`."""
    files = {
        path[1:]: {"size": len(c), "sha256": sha256(c).hexdigest(), "urls": [url + path]}
        for path, c in FILES.items()
    }
    common = {"title": "Hears", "licence": "MIT", "source": "https://x"}
    new = ["shared/config.json", "shared/net.bin"]
    assets = [
        {"id": "wide", "kind": "encoder", "sets": [new, ["old.pt"]], **common},
        {"id": "narrow", "kind": "encoder", "sets": [new, ["old.pt"]], **common},
        {"id": "base", "kind": "base", "sets": [["G.pth", "D.pth"]], **common},
    ]
    whole = {"format": 1, "mirrors": [], "files": files, "assets": assets}
    return Manifest.model_validate_json(json.dumps(whole | changes))


def no_convert(kind: Kind) -> Convert:
    """Keeps the files as they are, whatever the kind."""
    assert kind in {"encoder", "base"}
    return add_base


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(Shelf(dict(FILES))) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


Pull = Callable[..., list[str]]


@pytest.fixture
def get(home: Path, shelf: Shelf) -> Pull:
    def get(
        *ids: str,
        folder: Path | None = None,
        convert: Callable[[Kind], Convert] = no_convert,
        shown: list[tuple[int, int]] | None = None,
    ) -> list[str]:
        source = Source(folder=folder, patience=Patience(sleep=lambda _: None))
        seen: list[tuple[int, int]] = [] if shown is None else shown
        added = pull(
            ids,
            home,
            described(shelf.url),
            source,
            progress=lambda done, total: seen.append((done, total)),
            convert=convert,
        )
        return [asset.id for asset in added]

    return get


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_assets_of_the_same_files_are_downloaded_once(get: Pull, home: Path, shelf: Shelf) -> None:
    shown: list[tuple[int, int]] = []
    assert get("wide", "narrow", "wide", shown=shown) == ["wide", "narrow"]
    assert len(shelf.asked) == 2
    assert shown[-1][0] == shown[-1][1] == sum(len(FILES[f"/shared/{n}"]) for n in NEW)
    for identity in ("wide", "narrow"):
        assert names(home / "models" / identity) == sorted([BASE_CARD, *NEW])
    assert names(home) == sorted(
        ["models", *(f"models/{i}" for i in ("wide", "narrow"))]
        + [f"models/{i}/{name}" for i in ("wide", "narrow") for name in [BASE_CARD, *NEW]]
    )
    assert get("wide") == []
    assert len(shelf.asked) == 2


NEW = ["config.json", "net.bin"]


def test_a_training_base_is_kept_as_it_is_with_a_card(get: Pull, home: Path) -> None:
    get("base")
    card = json.loads((home / "models" / "base" / BASE_CARD).read_text())
    assert card["files"] == {name: sha256(FILES[f"/{name}"]).hexdigest() for name in card["files"]}
    assert set(card["files"]) == {"G.pth", "D.pth"}
    assert (home / "models" / "base" / "G.pth").read_bytes() == FILES["/G.pth"]


def test_an_interrupted_pull_goes_on_where_it_stopped(get: Pull, home: Path, shelf: Shelf) -> None:
    shelf.statuses["/shared/net.bin"] = [404]
    with pytest.raises(DownloadFailed, match="404"):
        get("wide")
    assert not (home / "models").exists()
    assert get("wide") == ["wide"]
    assert [path for path, _ in shelf.asked].count("/shared/config.json") == 1


def test_a_conversion_that_fails_installs_nothing_and_keeps_the_download(
    get: Pull, home: Path, shelf: Shelf
) -> None:
    def fails(_kind: Kind) -> Convert:
        def convert(
            files: Sequence[Path], identity: str, home: Path, *, licence: str, source: str
        ) -> None:
            assert [path.name for path in files] == NEW
            raise OSError(errno.ENOSPC, "No space left on device")

        return convert

    with pytest.raises(DownloadFailed, match="Make room"):
        get("wide", convert=fails)
    assert not installed(home, "wide")
    assert get("wide") == ["wide"]
    assert len(shelf.asked) == 2


@pytest.mark.parametrize("held", [["/shared/config.json", "/shared/net.bin"], ["/old.pt"]])
def test_without_a_network_files_are_known_by_their_content(
    get: Pull, home: Path, shelf: Shelf, tmp_path: Path, held: list[str]
) -> None:
    stick = tmp_path / "stick" / "deep"
    stick.mkdir(parents=True)
    for i, path in enumerate(held):
        (stick / f"renamed{i}").write_bytes(FILES[path])
    (stick / "net.bin").write_bytes(b"x" * len(FILES["/shared/net.bin"]))
    assert get("wide", folder=tmp_path / "stick") == ["wide"]
    assert shelf.asked == []
    for path in held:
        assert (home / "models" / "wide" / Path(path).name).read_bytes() == FILES[path]
    assert len(names(tmp_path / "stick")) == len(held) + 2


def test_a_folder_without_the_files_says_which_are_needed(get: Pull, tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(FILES["/shared/net.bin"])
    digest = sha256(FILES["/old.pt"]).hexdigest()[:12]
    with pytest.raises(ConfigError, match=rf"config.json .*\nor old.pt \(0.1 MB, sha256 {digest}"):
        get("wide", folder=tmp_path)
    with pytest.raises(ConfigError, match="no folder"):
        get("wide", folder=tmp_path / "none")


def test_a_damaged_file_in_the_folder_is_not_taken(get: Pull, tmp_path: Path) -> None:
    wrong = bytearray(FILES["/old.pt"])
    wrong[100] ^= 1
    (tmp_path / "old.pt").write_bytes(bytes(wrong))
    with pytest.raises(ConfigError, match="does not hold"):
        get("wide", folder=tmp_path)


def test_each_kind_is_made_by_what_knows_it() -> None:
    assert converter("encoder") is add_encoder
    assert converter("f0") is add_detector
    assert converter("base") is add_base


def test_an_unknown_model_is_told_with_those_there_are(get: Pull) -> None:
    with pytest.raises(ConfigError, match="There are: wide, narrow, base"):
        get("wide", "sings")


def test_a_mirror_is_asked_first_and_then_the_others() -> None:
    known = described(
        "https://h.co/r", mirrors=[{"of": "https://h.co", "at": "https://mirror.com"}]
    )
    file = known.files["old.pt"]
    assert known.addresses(file, "http://mine:80/x/") == [
        "http://mine:80/x/r/old.pt",
        "https://h.co/r/old.pt",
        "https://mirror.com/r/old.pt",
    ]
    assert known.addresses(file)[0] == "https://h.co/r/old.pt"


def test_the_manifest_names_files_that_its_assets_use_and_keeps_them_in_their_folder() -> None:
    known = manifest()
    used = {key for asset in known.assets for keys in asset.sets for key in keys}
    assert used == set(known.files)
    assert len(known.by_id) == len(known.assets)
    for key, file in known.files.items():
        assert all(url.startswith("https://") for url in file.urls)
        assert not any(part.startswith(".") or not part for part in key.split("/")), key
    for asset in known.assets:
        for keys in asset.sets:
            assert len({key.rsplit("/", 1)[-1] for key in keys}) == len(keys)
    assert {"contentvec-768", "contentvec-256", "rmvpe", "fcpe", "crepe-full"} <= set(known.by_id)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"../x": {"size": 1, "sha256": "0" * 64, "urls": ["https://x/y"]}}},
        {"files": {"x": {"size": 1, "sha256": "0" * 63, "urls": ["https://x/y"]}}},
        {"files": {"x": {"size": 1, "sha256": "0" * 64, "urls": []}}},
        {"format": 2},
        {"more": 1},
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        described("https://x", **changes)


def test_a_missing_model_is_told_with_its_size_and_the_command(home: Path) -> None:
    error = missing("contentvec-768", "encoder", home, needed_by="Voice 'ada'")
    assert isinstance(error, AssetMissing)
    assert str(error) == (
        "Voice 'ada' needs the content encoder 'contentvec-768', which is not installed. "
        "Get it (189 MB): timbral models pull contentvec-768"
    )
    unknown = missing("own-768", "encoder", home, needed_by="Voice 'ada'")
    assert str(unknown).endswith("timbral models add FILE --id own-768")


def test_the_command_lists_pulls_from_a_folder_and_says_what_is_there_already(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, shelf: Shelf
) -> None:
    monkeypatch.setenv("TIMBRAL_HOME", str(home))
    monkeypatch.setattr("stream.models.assets.manifest", lambda: described(shelf.url))
    for name in ("G.pth", "D.pth"):
        (tmp_path / name).write_bytes(FILES[f"/{name}"])
    run = CliRunner().invoke
    listed = run(app, ["models", "list"]).output
    assert "to pull: Hears" in listed
    assert "student-256" in listed
    pulled = run(app, ["models", "pull", "base", "--from-dir", str(tmp_path)])
    assert pulled.output.strip().endswith("Installed base (MIT, https://x)")
    again = run(app, ["models", "pull", "base", "--mirror", shelf.url])
    assert again.output.strip().endswith("base is installed already.")
    assert "No voice here needs" in run(app, ["models", "pull"]).output
    shutil.rmtree(home / "models")
    pulled = run(app, ["models", "pull", "base", "--mirror", f"{shelf.url}/none"])
    assert pulled.exit_code == 0, pulled.output
    assert shelf.asked[0][0] == "/none/G.pth"
