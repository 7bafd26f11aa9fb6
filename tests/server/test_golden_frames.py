"""The bytes in tests/golden are the wire format; the C side reads the same files."""

import pytest
from golden.make_frames import FOLDER, FRAMES

from server.protocol import AudioFrame


@pytest.mark.parametrize("name", FRAMES)
def test_a_golden_frame_is_what_we_write_and_read(name: str) -> None:
    data = (FOLDER / f"{name}.bin").read_bytes()
    assert FRAMES[name].pack() == data
    assert AudioFrame.unpack(data) == FRAMES[name]


def test_no_golden_frame_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("frame_*.bin")} == set(FRAMES)


def test_the_format_is_what_the_design_says() -> None:
    data = (FOLDER / "frame_after_gap.bin").read_bytes()
    kind, flags, reserved, seq, position = "01", "04", "0000", "09000000", "004031f700000000"
    assert data.hex() == kind + flags + reserved + seq + position + "3412"
