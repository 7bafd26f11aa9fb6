"""Look into a faiss index before faiss does: whether it is one that RVC makes, and whole.

faiss believes the sizes that a file states and takes the memory for them at once. Here every size
is compared with the file first, and the numbers with each other. The layout is that of faiss's
`write_index` for its Flat and IVF-Flat indices.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from stream.errors import BadCheckpoint

FLAT = (b"IxF2", b"IxFI", b"IxFl")
LISTS: Final = b"IwFl"
MOST_LISTS = 1 << 20
FLOAT, ID = 4, 8  # bytes


@dataclass(frozen=True)
class IndexFacts:
    """A usable index."""

    path: Path
    dim: int  # columns
    rows: int


def is_index(path: Path) -> bool:
    """Whether the file begins as faiss's indices do."""
    with path.open("rb") as file:
        return file.read(4) in (*FLAT, LISTS)


def inspect_index(path: Path) -> IndexFacts:
    """What the index in the file is; raises `BadCheckpoint` for one that cannot be used.

    Law: of a file that passes, faiss takes no more memory than a few times the file's length, and
    each row has finite numbers and an id below the number of rows.
    """
    try:
        with path.open("rb") as file:
            look = _Look(file, path.stat().st_size)
            facts = look.index(path)
            if look.left:
                raise ValueError(f"{look.left} bytes too many")
    except (ValueError, struct.error) as error:
        raise BadCheckpoint(
            path, f"it is no faiss index that RVC makes, or is damaged ({error})."
        ) from error
    except OSError as error:
        raise BadCheckpoint(path, f"it cannot be read ({error.strerror or error}).") from error
    if not facts.rows:
        raise BadCheckpoint(
            path,
            "it is an index without vectors (RVC names these `trained_*`). "
            "Take the `added_*` index next to it.",
        )
    return facts


class _Look:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.left = size  # bytes not looked at yet

    def index(self, path: Path) -> IndexFacts:
        """The whole index at this position."""
        kind = self._take(4)
        if kind in FLAT:
            return IndexFacts(path, *self._flat())
        if kind != LISTS:
            shown = kind.decode("latin-1") if kind.isalnum() else "something else"
            raise ValueError(f"of the kind {shown}, not IVF-Flat or Flat")
        dim, rows = self._header()
        lists, searched = self._unpack("<QQ")
        if not searched:
            raise ValueError("a search looks at none of its lists")
        if self._take(4) not in FLAT or lists > MOST_LISTS or self._flat() != (dim, lists):
            raise ValueError("its lists do not fit their centres")
        if self._unpack("<b")[0] == 2:
            raise ValueError("it has a hash table of ids")
        self._take(self._sized(ID))
        if rows or self.left:
            self._inverted(lists, dim, rows)
        return IndexFacts(path, dim, rows)

    def _flat(self) -> tuple[int, int]:
        """(columns, rows) of an index that is nothing but rows."""
        dim, rows = self._header()
        self._vectors(self._sized(FLOAT), rows * dim)
        return dim, rows

    def _header(self) -> tuple[int, int]:
        """(columns, rows)."""
        dim, rows, _, _, trained, metric = self._unpack("<iqqqBi")
        if not 1 <= dim <= 4096 or not 0 <= rows <= self.left // FLOAT or trained != 1:
            raise ValueError("its header makes no sense")
        if metric != 1:
            raise ValueError("it does not measure Euclidean distance")
        return dim, rows

    def _inverted(self, lists: int, dim: int, rows: int) -> None:
        if self._take(4) != b"ilar":
            raise ValueError("its lists are of an unknown kind")
        count, code = self._unpack("<QQ")
        if count != lists or code != dim * FLOAT:
            raise ValueError("its lists are not of its size")
        sizes = self._list_sizes(lists)
        if sum(sizes) != rows:
            raise ValueError(f"its lists hold {sum(sizes)} rows, not {rows}")
        for size in sizes:
            self._vectors(size * code, size * dim)
            ids = np.frombuffer(self._take(size * ID), "<i8")
            if size and (ids.min() < 0 or ids.max() >= rows):
                raise ValueError("its rows are numbered beyond their count")

    def _list_sizes(self, lists: int) -> list[int]:
        form = self._take(4)
        held = np.frombuffer(self._take(self._sized(ID)), "<u8")
        if form == b"full" and len(held) == lists:
            sizes = held
        elif form == b"sprs" and len(held) % 2 == 0 and (not len(held) or held[::2].max() < lists):
            sizes = _spread(held, lists)
        else:
            raise ValueError("its lists are of an unknown form")
        if len(sizes) and sizes.max() > self.left:
            raise ValueError("a list is longer than the file")
        return [int(size) for size in sizes]

    def _vectors(self, length: int, count: int) -> None:
        if length != count * FLOAT:
            raise ValueError("its vectors are of another number than it says")
        if not np.isfinite(np.frombuffer(self._take(length), "<f4")).all():
            raise ValueError("it holds NaN or infinity")

    def _sized(self, item: int) -> int:
        """The length in bytes of the row of items that begins here."""
        count = self._unpack("<Q")[0]
        if count > self.left // item:
            raise ValueError("cut short")
        return count * item

    def _take(self, length: int) -> bytes:
        if length > self.left:
            raise ValueError("cut short")
        self.left -= length
        return self._file.read(length)

    def _unpack(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self._take(struct.calcsize(form)))


def _spread(pairs: NDArray[np.uint64], lists: int) -> NDArray[np.uint64]:
    sizes = np.zeros(lists, np.uint64)
    sizes[pairs[::2].astype(np.int64)] = pairs[1::2]
    return sizes
