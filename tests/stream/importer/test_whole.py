from pathlib import Path

import pytest

from stream.errors import BadCheckpoint
from stream.importer.whole import LARGEST, load_model


def test_a_file_too_large_for_onnx_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.onnx").open("wb") as file:
        file.truncate(LARGEST + 1)  # a hole: nothing is on the disk
    with pytest.raises(BadCheckpoint, match="larger than an ONNX file can be"):
        load_model(tmp_path / "a.onnx")


def test_a_file_that_is_not_there_is_a_damaged_model(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="damaged"):
        load_model(tmp_path / "a.onnx")
