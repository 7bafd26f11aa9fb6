"""Nothing in a pickle is run: a malicious one is refused, in every wrapping it can come in."""

import argparse
import io
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import HostileFile, TimbralError
from stream.importer.archive import unpack
from stream.importer.harmless import Inert
from stream.importer.pickles import MOST_COPIED, MOST_OPS, load
from stream.importer.tensors import read_tensors


class Trap:
    """Runs a command when a pickle of it is loaded."""

    def __init__(self, function: Callable[..., Any], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def raw(held: object, protocol: int = 2) -> bytes:
    return pickle.dumps(held, protocol)


def in_a_zip(path: Path, held: object) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", raw(held))
        archive.writestr("archive/version", "3\n")


def in_old_form(path: Path, held: object) -> None:
    path.write_bytes(
        raw(0x1950A86A20F9469CFC6C)
        + raw(1001)
        + raw({"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
        + raw(held)
        + raw([])
    )


def as_its_first_word(path: Path, held: object) -> None:
    path.write_bytes(raw(held))


SHELL = os.system  # pyright: ignore[reportDeprecated]
WRAPPINGS = [in_a_zip, in_old_form, as_its_first_word]


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_a_malicious_pickle_runs_nothing(
    tmp_path: Path, wrap: Callable[[Path, object], None]
) -> None:
    ran = tmp_path / "ran"
    trap = Trap(SHELL, f"echo > '{ran}'")
    pickle.loads(raw(trap))  # so that the trap is known to work
    assert ran.exists()
    ran.unlink()
    path = tmp_path / "voice.pth"
    wrap(path, {"weight": {"a": trap}, "sr": "40k"} if wrap is not as_its_first_word else trap)
    with pytest.raises(HostileFile, match=r"asks for \w+\.system.*Nothing in it was run"):
        read_tensors(path)
    assert not ran.exists()


def test_a_malicious_pickle_in_a_zip_in_a_download_runs_nothing(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    in_a_zip(tmp_path / "voice.pth", {"weight": Trap(SHELL, f"echo > '{ran}'")})
    with zipfile.ZipFile(tmp_path / "download.zip", "w") as archive:
        archive.write(tmp_path / "voice.pth", "ada/voice.pth")
    inside = tmp_path / "inside"
    inside.mkdir()
    unpack(tmp_path / "download.zip", inside)
    with pytest.raises(HostileFile):
        read_tensors(next(inside.rglob("*.pth")))
    assert not ran.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"cbuiltins\n__import__\n(S'os'\ntR.",
        b"cbuiltins\ngetattr\n(cos\nsystem\nS'x'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"\x80\x04\x8c\x05torch\x8c\x0bhub.loadfoo\x93.",
        b"ctorch.hub\nload\n(tR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n0cnumpy\nload\n(tR.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02P1\n.",
    ],
)
def test_any_other_name_or_instruction_is_refused(program: bytes) -> None:
    with pytest.raises(HostileFile):
        load(io.BytesIO(program), Path("a.pth"))


@pytest.mark.parametrize(
    "program",
    [
        b".",
        b"(.",
        b"R.",
        b"]a.",
        b"}(K\x01u.",
        b"K\x01K\x02a.",
        b"h\x05.",
        b"\x80\x02](K\x01K\x02b.",
        b"ctorch\nFloatStorage\n)R.",
        b"ccollections\nOrderedDict\nK\x01R.",
        b"\x80\x02}(]K\x01u.",
        b"K\x01Q.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x01K\x01K\x01tR.",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    ],
)
def test_a_broken_program_is_a_value_error(program: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own text
        load(io.BytesIO(program), Path("a.pth"))


def test_classes_are_read_as_inert_records_where_the_caller_says_so(tmp_path: Path) -> None:
    settings_of = argparse.Namespace(task="pretraining", layers=12)
    held = {"args": settings_of, "model": {"w": torch.ones(3)}}
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(HostileFile, match=r"argparse\.Namespace"):
        read_tensors(tmp_path / "a.pt")
    for inert in ("argparse.Namespace", "argparse."):
        file = read_tensors(tmp_path / "a.pt", inert=[inert])
        assert file.extra["args"] == Inert("argparse.Namespace", vars(settings_of))
        assert np.array_equal(file.tensors["model.w"], np.ones(3))


def test_an_inert_class_that_is_called_is_not_called(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    in_a_zip(tmp_path / "a.pt", {"cfg": Trap(SHELL, f"echo > '{ran}'")})
    file = read_tensors(tmp_path / "a.pt", inert=["posix.", "nt."])
    assert isinstance(file.extra["cfg"], Inert)
    assert not ran.exists()


def test_things_that_contain_themselves_or_multiply_are_refused(tmp_path: Path) -> None:
    itself: list[object] = []
    itself.append(itself)
    in_a_zip(tmp_path / "a.pth", itself)
    with pytest.raises(HostileFile, match="nests deeper"):
        read_tensors(tmp_path / "a.pth")
    doubling: object = 1
    for _ in range(30):
        doubling = [doubling, doubling]
    in_a_zip(tmp_path / "a.pth", doubling)
    with pytest.raises(HostileFile, match="nests deeper or wider"):
        read_tensors(tmp_path / "a.pth")


def test_a_pickle_that_copies_without_end_is_refused() -> None:
    text = b"\x80\x02X" + (1 << 20).to_bytes(4, "little") + b"a" * (1 << 20) + b"q\x00"
    again = b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR0" * (MOST_COPIED >> 19)
    with pytest.raises(HostileFile, match="over and over"):
        load(io.BytesIO(text + again + b"."), Path("a.pth"))


@pytest.mark.slow
def test_a_pickle_without_end_is_refused() -> None:
    with pytest.raises(HostileFile, match="instructions"):
        load(io.BytesIO(b"K\x010" * MOST_OPS + b"."), Path("a.pth"))


STEPS = [
    *(b"N", b"(", b")", b"]", b"}", b"\x8f", b"0", b"1", b"2", b"a", b"e", b"s", b"u", b"t", b"l"),
    *(b"d", b"\x85", b"\x86", b"\x87", b"\x90", b"\x91", b"R", b"b", b"\x81", b"\x92", b"o", b"Q"),
    *(
        b"K\x01",
        b"K\x04",
        b"q\x00",
        b"q\x01",
        b"h\x00",
        b"h\x01",
        b"\x94",
        b"\x8c\x02f4",
        b"C\x01a",
    ),
    *(b"\x8c\x07storage", b"\x8c\x01<", b"ctorch\nFloatStorage\n", b"cnumpy\ndtype\n"),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"ctorch\nSize\n"),
    *(b"cbuiltins\nset\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"cfairseq\nCfg\n"),
    *(b"cnumpy.core.multiarray\nscalar\n", b"ctorch._utils\n_rebuild_parameter\n"),
    *(b"ctorch\ndevice\n", b"c_codecs\nencode\n", b"ctorch._tensor\n_rebuild_from_type_v2\n"),
]


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=100), st.lists(st.sampled_from(STEPS)).map(b"".join)))
def test_random_programs_give_plain_data_or_typed_errors(program: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.pth")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", b"\x80\x02" + program + b".")
            archive.writestr("a/data/1", bytes(64))
        with suppress(TimbralError):
            read_tensors(path, inert=["fairseq."])
