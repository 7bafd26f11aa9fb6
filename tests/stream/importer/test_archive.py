"""What a stranger's archive or folder holds is found, and nothing of it gets out of its folder."""

import io
import struct
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import BadCheckpoint, HostileFile, TimbralError
from stream.importer.archive import is_archive, look, unpack


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def unpacked(path: Path) -> list[str]:
    into = path.parent / "into"
    into.mkdir()
    unpack(path, into)
    return sorted(file.name for file in into.rglob("*") if file.is_file())


def test_what_belongs_to_a_voice_is_unpacked_and_the_rest_is_left(tmp_path: Path) -> None:
    members = {
        "Ada/Ada_e300.pth": b"weights",
        "Ada/added_IVF9_Flat.index": b"rows",
        "Ada/read me.txt": b"hello",
        "Ada/setup.exe": b"MZ",
        "__MACOSX/Ada/._Ada_e300.pth": b"fork",
        ".hidden.pth": b"x",
    }
    path = zipped(tmp_path / "a.zip", members)
    assert is_archive(path)
    assert unpacked(path) == ["Ada_e300.pth", "added_IVF9_Flat.index"]
    found = look(tmp_path / "into")
    assert [path.read_bytes() for path in found.models] == [b"weights"]
    assert [path.read_bytes() for path in found.indices] == [b"rows"]
    assert found.bundle is None


def test_files_of_one_folder_stay_together_and_names_are_made_harmless(tmp_path: Path) -> None:
    members = {
        "a/voice.json": b"{}",
        "a/synth.onnx": b"1",
        "b/so:me|n?ame.pth": b"2",
        "b/声.pth": b"3",
    }
    unpacked(zipped(tmp_path / "a.zip", members))
    folders = {path.name: path.parent for path in (tmp_path / "into").rglob("*.*")}
    assert folders["voice.json"] == folders["synth.onnx"] != folders["so_me_n_ame.pth"]
    assert "声.pth" in folders
    assert look(tmp_path / "into").bundle == folders["voice.json"]


@pytest.mark.parametrize(
    "name",
    [
        "../a.pth",
        "a/../../b.pth",
        "/etc/a.pth",
        "C:/a.pth",
        "C:a.pth",
        "..\\a.pth",
        "\\\\host\\a.pth",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    path = zipped(folder / "x.zip", {"good.pth": b"1", name: b"2"})
    with pytest.raises(HostileFile, match="outside its folder"):
        unpacked(path)
    left = [file for file in tmp_path.rglob("*") if file.is_file() and file != path]
    assert left == []


def test_links_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("voice.pth")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(HostileFile, match="is a link"):
        unpacked(tmp_path / "a.zip")
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.pth").write_bytes(b"1")
    (folder / "voice.pth").symlink_to(tmp_path / "secret.pth")
    with pytest.raises(HostileFile, match="leads out of the folder"):
        look(folder)


def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.pth": bytes(20 << 20)})
    assert path.stat().st_size < 100_000
    with pytest.raises(HostileFile, match="swells"):
        unpacked(path)


def test_a_bomb_that_declares_little_writes_no_more_than_that(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.pth": bytes(1 << 20)})
    data = bytearray(path.read_bytes())
    for sign, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        where = data.index(sign) + at
        assert struct.unpack_from("<I", data, where)[0] == 1 << 20
        struct.pack_into("<I", data, where, 1000)
    path.write_bytes(data)
    with pytest.raises(BadCheckpoint, match="damaged"):
        unpacked(path)
    written = [file.stat().st_size for file in (tmp_path / "into").rglob("*.pth")]
    assert sum(written) <= 1000


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.importer.archive.MOST_MEMBERS", 20)
    path = zipped(tmp_path / "a.zip", {f"{i}": b"" for i in range(21)})
    with pytest.raises(HostileFile, match="members"):
        unpacked(path)


def test_encrypted_and_ambiguous_archives_are_refused(tmp_path: Path) -> None:
    data = bytearray(zipped(tmp_path / "a.zip", {"a.pth": b"1"}).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(BadCheckpoint, match="encrypted"):
        unpack(tmp_path / "a.zip", tmp_path)
    path = zipped(tmp_path / "b.zip", {"a|b.pth": b"1", "a?b.pth": b"2"})
    with pytest.raises(BadCheckpoint, match="two files"):
        unpacked(path)


def test_an_archive_in_an_archive_is_named(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"a.pth": b"1"}).read_bytes()
    unpacked(zipped(tmp_path / "outer.zip", {"inner.zip": inner}))
    with pytest.raises(BadCheckpoint, match=r"another archive, inner\.zip"):
        look(tmp_path / "into")


def test_a_folder_without_a_voice_and_one_with_several_are_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(BadCheckpoint, match="no voice in it"):
        look(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "voice.json").write_text("{}")
    with pytest.raises(BadCheckpoint, match="one by one"):
        look(tmp_path)


ORIGINAL = io.BytesIO()
with zipfile.ZipFile(ORIGINAL, "w", zipfile.ZIP_DEFLATED) as made:
    made.writestr("ada/a.pth", b"weights" * 30)
    made.writestr("ada/b.index", b"rows" * 30)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 0.999, allow_subnormal=False), st.integers(0, 255)), max_size=6
    ),
    st.one_of(st.none(), st.floats(0.0, 1.0, allow_subnormal=False)),
)
def test_damaged_archives_give_typed_errors_only(
    changes: list[tuple[float, int]], cut: float | None
) -> None:
    data = bytearray(ORIGINAL.getvalue())
    for where, value in changes:
        data[int(where * len(data))] = value
    if cut is not None:
        del data[int(cut * len(data)) :]
    with tempfile.TemporaryDirectory() as folder:
        path, into = Path(folder, "outer", "a.zip"), Path(folder, "outer", "into")
        into.mkdir(parents=True)
        path.write_bytes(data)
        with suppress(TimbralError):
            unpack(path, into)
            look(into)
        assert [file.name for file in Path(folder).iterdir()] == ["outer"]
