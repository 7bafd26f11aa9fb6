"""`timbral obs`: the filter goes where OBS looks, whole or not at all."""

from pathlib import Path

import pytest

from clients.obs import LIBRARIES, PLUGIN, Place, built, choose, install, places
from stream.errors import ConfigError


def make_plugin(folder: Path, text: str = "new") -> Path:
    library = folder / PLUGIN / "bin/64bit" / LIBRARIES["Linux"]
    library.parent.mkdir(parents=True)
    library.write_text(text)
    (folder / PLUGIN / "data/locale").mkdir(parents=True)
    return folder / PLUGIN


def test_a_built_filter_is_found_and_a_missing_one_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cmake --build"):
        built(tmp_path)
    plugin = make_plugin(tmp_path / "build/here/installed")
    assert built(tmp_path) == built(plugin) == built(plugin.parent) == plugin


def test_an_older_filter_is_replaced_as_a_whole(tmp_path: Path) -> None:
    source = make_plugin(tmp_path / "built")
    target = Place("user", tmp_path / "obs/plugins", True)
    assert not target.installed
    old = make_plugin(target.folder, "old")
    (old / "leftover").write_text("old")
    assert install(source, target) == target.plugin
    assert target.installed
    assert (target.plugin / "bin/64bit" / LIBRARIES["Linux"]).read_text() == "new"
    assert sorted(path.name for path in target.folder.iterdir()) == [PLUGIN]
    assert not (target.plugin / "leftover").exists()


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--folder"):
        install(make_plugin(tmp_path / "built"), Place("user", tmp_path / "file/plugins", True))


def test_places_of_every_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("PROGRAMDATA", "C:/Data")
    (tmp_path / ".var/app/com.obsproject.Studio").mkdir(parents=True)
    linux = {place.name: place for place in places(tmp_path, system="Linux")}
    assert linux["user"].folder == tmp_path / ".config/obs-studio/plugins"
    assert linux["flatpak"] in choose(linux.values())
    assert all(place.name != "system" for place in choose(linux.values()))
    (windows,) = places(tmp_path, system="Windows")
    assert windows.folder == Path("C:/Data/obs-studio/plugins")
    (mac,) = places(tmp_path, system="Darwin")
    assert mac.folder == tmp_path / "Library/Application Support/obs-studio/plugins"


def test_without_obs_nothing_is_installed() -> None:
    with pytest.raises(ConfigError, match="No OBS"):
        choose([Place("user", Path("x"), False), Place("system", Path("y"), True, False)])
