"""Writes the golden frames: bytes that the Python and the C side both read.

Run it by `make golden`, after a change of the protocol's version. Each frame's fields stand in
`FRAMES`, so that a reader of another language can check them.
"""

from pathlib import Path

from server.protocol import AudioFrame, Flag

FRAMES: dict[str, AudioFrame] = {
    "frame_first_s16le": AudioFrame(0, 0, b"\x00\x00\x01\x00\xff\xff\xff\x7f\x00\x80"),
    "frame_first_f32le": AudioFrame(
        0, 0, b"\x00\x00\x00\x00\x00\x00\x80\x3f\x00\x00\x80\xbf\x00\x00\x00\x3f"
    ),
    "frame_silence": AudioFrame(7, 6_720, bytes(8), Flag.SILENCE),
    "frame_concealed": AudioFrame(8, 6_724, bytes(4), Flag.CONCEALED | Flag.SILENCE),
    "frame_after_gap": AudioFrame(9, 48_000 * 3_600 * 24, b"\x34\x12", Flag.GAP),
    "frame_last": AudioFrame(2**32 - 1, 2**63 - 2, b"\x01\x00"),
}
FOLDER = Path(__file__).parent


def main() -> None:
    """Write every frame to its file."""
    for name, frame in FRAMES.items():
        (FOLDER / f"{name}.bin").write_bytes(frame.pack())


if __name__ == "__main__":
    main()
