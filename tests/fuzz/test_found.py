"""What the fuzzers found, each as small as it gets: once an error of somebody else's, now ours."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
from fuzz import files
from fuzz.files import CORPUS

from offline.curve import read_curve
from stream.errors import AudioError, BadCheckpoint, HostileFile, TimbralError
from stream.files import SoundFile
from stream.importer.tensors import read_tensors
from stream.importer.whole import load_model

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("read", "name", "text"),
    [
        (files.curve, "a.json", DEEP),
        (files.card, "voice.json", DEEP),
        (files.settings, "a.toml", f"port = {DEEP}"),
        (files.settings, "a.toml", f"port = {'9' * 5000}"),
        (files.cover, "a.toml", f"key = {DEEP}"),
        (files.effects, "a.toml", f"title = {DEEP}"),
        (files.chain, "a.toml", f"vocals = {DEEP}"),
        (files.preset, "a.json", DEEP),
        (files.tokens, "a.json", DEEP),
    ],
)
def test_a_text_that_nests_without_end_is_refused(
    tmp_path: Path, read: files.Read, name: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    with pytest.raises(TimbralError):
        read(path)


def test_a_home_of_nobody_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('home = "~nobody-of-that-name/x"\n', "utf-8")
    with pytest.raises(TimbralError, match="home"):
        files.settings(path)


@pytest.mark.parametrize("hz", ["-nan", "+NaN", "-NaN"])
def test_a_negative_no_number_is_unvoiced_too(tmp_path: Path, hz: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"0.01,{hz}\n0.02,100\n", "utf-8")
    assert read_curve(path).hz.tolist() == [0.0, 100.0]


def test_sound_that_breaks_off_in_the_middle_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 200_000)
    soundfile.write(path, noise, 48_000)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    path.write_bytes(data)
    with pytest.raises(AudioError, match="damaged"):
        SoundFile(path).read()


def test_channels_whose_mean_is_no_number_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([[np.inf, -np.inf], [3e38, 3e38]]), 48_000, "FLOAT")
    with pytest.raises(AudioError, match="no sample"):
        SoundFile(path).read()


def test_sound_of_an_unknown_kind_is_told(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the extra `offline` is not installed")
    path = tmp_path / "a.wav"
    data = bytearray((CORPUS / "int.wav").read_bytes())
    data[20:22] = b"\x77\x12"  # a coding that nobody has
    path.write_bytes(data)
    with pytest.raises(AudioError, match="holds no audio"):
        SoundFile(path)


def archive(**field: Any) -> bytes:
    """A zip whose only entry in the directory has a field changed."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        made.writestr("a/data.pkl", b"\x80\x02N.")
    data = bytearray(held.getvalue())
    at = data.index(b"PK\x01\x02")
    for name, value in field.items():
        offset = {"needs": 6, "flags": 8}[name]
        data[at + offset : at + offset + 2] = struct.pack("<H", value)
    return bytes(data)


def test_an_archive_of_the_future_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(archive(needs=104))
    with pytest.raises(BadCheckpoint, match="damaged"):
        read_tensors(path)
    path.write_bytes(archive(flags=0x40))
    with pytest.raises((BadCheckpoint, HostileFile)):
        read_tensors(path)


def test_an_archive_on_several_disks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    data = archive()
    end = data.index(b"PK\x05\x06")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 2)
    path.write_bytes(data[:end] + bytes(56) + locator + data[end:])
    with pytest.raises(TimbralError):
        files.archive(path)


def test_a_graph_whose_names_are_no_text_is_refused(tmp_path: Path) -> None:
    data = (CORPUS / "voice.onnx").read_bytes()
    path = tmp_path / "a.onnx"
    name = onnx.load_from_string(data).graph.initializer[0].name.encode()
    path.write_bytes(data.replace(name, b"\xff" * len(name)))
    with pytest.raises(BadCheckpoint, match="no text"):
        load_model(path)
