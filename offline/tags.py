"""What a music file tells of itself beside its sound: title, artist, cover art.

PyAV, of the extra `offline`, reads and writes them; without it files are read as if they had none.
"""

import base64
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from stream.errors import AudioError

FORMATS = {".wav": "wav", ".mp3": "mp3", ".flac": "flac", ".ogg": "ogg", ".m4a": "mp4"}
NOT_KEPT = {  # facts of the file that was, not of the song
    "encoder",
    "encoded_by",
    "compatible_brands",
    "major_brand",
    "minor_version",
    "creation_time",
    "duration",
    "metadata_block_picture",
}
PICTURES = {b"\x89PNG": ("png", "image/png"), b"\xff\xd8\xff": ("mjpeg", "image/jpeg")}
FRONT_COVER = 3  # the type of a picture, as FLAC and ID3 number them


@dataclass(frozen=True)
class Tags:
    """Names and texts such as title and artist, lower case, and the front cover's file."""

    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    cover: bytes = b""  # a JPEG or PNG file; empty for none

    def __bool__(self) -> bool:
        return bool(self.texts or self.cover)


def tags_of(path: Path) -> Tags:
    """The tags of a file; none where it has none or PyAV is not installed."""
    av = _pyav()
    if av is None:
        return Tags()
    try:
        with av.open(str(path)) as container:
            texts = dict(container.metadata)
            for stream in container.streams.audio[:1]:
                texts = dict(stream.metadata) | texts
            cover = _cover(av, container)
    except (av.FFmpegError, ValueError):  # the sound may be readable all the same
        return Tags()
    return Tags({k.lower(): v for k, v in texts.items() if k.lower() not in NOT_KEPT}, cover)


def put_tags(source: Path, target: Path, tags: Tags) -> Path:
    """Copy the sound of `source`, untouched, to `target` with `tags`; returns what was made.

    Without PyAV nothing can be made: then it is `source` itself. WAV keeps texts only, W64 nothing.
    Raises `AudioError` when the disk is full.
    """
    av = _pyav()
    ending = target.suffix.lower()
    if av is None or ending not in FORMATS:
        return source
    try:
        with av.open(str(source)) as old, av.open(str(target), "w", format=FORMATS[ending]) as new:
            sound = new.add_stream_from_template(old.streams.audio[0])
            new.metadata.update(tags.texts)
            picture = None
            if ending == ".ogg":  # whose muxer reads them here, and knows no picture
                sound.metadata.update(tags.texts)
                if tags.cover:
                    sound.metadata["METADATA_BLOCK_PICTURE"] = picture_block(tags.cover)
            elif ending != ".wav" and tags.cover:
                picture = _picture_stream(av, new, tags.cover)
            new.start_encoding()
            if picture:
                new.mux(_packet(av, tags.cover, picture))
            for packet in old.demux(old.streams.audio[0]):
                if packet.dts is not None:
                    packet.stream = sound
                    new.mux(packet)
    except (av.FFmpegError, OSError) as error:
        raise AudioError(f"{target.parent} cannot be written to: {error}.") from error
    return target


def picture_block(cover: bytes) -> str:
    """A cover as the text that Ogg comments hold it in (RFC 9639 §8.8, in base64).

    Sizes in pixels may be 0 there: "unknown".
    """
    kind = _kind(cover)[1].encode()
    head = struct.pack(">II", FRONT_COVER, len(kind)) + kind
    sizes = struct.pack(">IIIIII", 0, 0, 0, 0, 0, len(cover))
    return base64.b64encode(head + sizes + cover).decode()


def _cover(av: ModuleType, container: Any) -> bytes:
    attached = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if stream.disposition & attached:
            for packet in container.demux(stream):
                found = bytes(packet)
                if any(found.startswith(start) for start in PICTURES):
                    return found
    return b""


def _kind(cover: bytes) -> tuple[str, str]:
    for start, kind in PICTURES.items():
        if cover.startswith(start):
            return kind
    raise AudioError("The cover art is neither JPEG nor PNG. Convert it to one of them.")


def _picture_stream(av: ModuleType, container: Any, cover: bytes) -> Any:
    codec = _kind(cover)[0]
    stream = container.add_stream(codec, rate=1)
    stream.width, stream.height = _size(av, cover)
    stream.pix_fmt = "rgb24" if codec == "png" else "yuvj420p"
    stream.disposition = av.stream.Disposition.attached_pic
    return stream


def _size(av: ModuleType, cover: bytes) -> tuple[int, int]:
    """Width and height in pixels."""
    from io import BytesIO

    with av.open(BytesIO(cover)) as picture:
        stream = picture.streams.video[0]
        return stream.width, stream.height


def _packet(av: ModuleType, cover: bytes, stream: Any) -> Any:
    packet = av.Packet(cover)
    packet.stream = stream
    packet.pts = packet.dts = 0
    packet.is_keyframe = True
    return packet


def _pyav() -> ModuleType | None:
    with suppress(ImportError):
        import av

        return av
    return None
