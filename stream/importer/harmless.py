"""The names that a checkpoint may use, and what each of them makes here.

Nothing of these is torch's or numpy's own: a name stands for a function below that checks its
arguments and returns plain data, a `Tensor` (where its numbers lie) or an `Inert` record.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

BFLOAT16: Final = "bfloat16"  # numpy has none: read as the upper half of a float32
ELEMENTS: Mapping[str, str] = {  # torch's name for a dtype or storage: numpy's dtype
    **{"float16": "<f2", "half": "<f2", "float32": "<f4", "float": "<f4", "float64": "<f8"},
    **{"double": "<f8", "uint8": "u1", "int8": "i1", "int16": "<i2", "short": "<i2"},
    **{"int32": "<i4", "int": "<i4", "int64": "<i8", "long": "<i8", "bool": "?"},
    BFLOAT16: BFLOAT16,
}
STORAGES: Mapping[str, str] = {
    **{"torch.FloatStorage": "<f4", "torch.HalfStorage": "<f2", "torch.DoubleStorage": "<f8"},
    **{"torch.ByteStorage": "u1", "torch.CharStorage": "i1", "torch.ShortStorage": "<i2"},
    **{"torch.IntStorage": "<i4", "torch.LongStorage": "<i8", "torch.BoolStorage": "?"},
    **{"torch.BFloat16Storage": BFLOAT16, "torch.storage.UntypedStorage": "u1"},
}
NUMPY = frozenset(["?", "b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))]) | {
    *("f2", "f4", "f8")
}
MOST_DIMS = 8


@dataclass(frozen=True)
class Name:
    """A global that the file mentions; only a name, never the thing."""

    full: str


@runtime_checkable
class Built(Protocol):
    """Something that gets its content after it was made."""

    def build(self, state: object) -> None:
        """Take the content; raises `ValueError`."""
        ...


@dataclass
class Inert:
    """What stands where an object of a foreign class was: its class's name, and its state."""

    name: str
    state: object = None

    def build(self, state: object) -> None:
        """Keep the state as it is."""
        self.state = state


@dataclass(frozen=True)
class Storage:
    """Numbers in a row, to be found in the file under `key`."""

    element: str  # numpy's dtype, or `BFLOAT16`
    key: str
    count: int
    first: int = 0  # element of that row

    @classmethod
    def of(cls, identity: object) -> "Storage":
        """From torch's persistent identity: ("storage", kind, key, place, count[, view])."""
        if not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise ValueError("a persistent identity that is no storage")
        word, kind, key, _, count, *view = identity
        if word != "storage" or not isinstance(kind, Name) or kind.full not in STORAGES:
            raise ValueError("a storage of unknown kind")
        first = 0
        if view and view[0] is not None:
            _, first, count = _tuple(view[0], 3)
        return cls(STORAGES[kind.full], _text(key), _count(count), _count(first))


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, as torch describes it, all in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def reach(self) -> int:
        """How many elements of the storage, from its first, the view needs."""
        if 0 in self.shape:
            return 0
        last = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        return self.offset + last + 1


@dataclass
class Element:
    """A numpy dtype on its way."""

    code: str
    order: str = "<"

    def build(self, state: object) -> None:
        """Take (version, byte order, ...)."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise ValueError("a numpy dtype of another byte order")

    @property
    def dtype(self) -> "np.dtype[np.generic]":
        """numpy's own."""
        return np.dtype(self.code).newbyteorder("<")


@dataclass
class Array:
    """A numpy array on its way."""

    value: NDArray[np.generic] = field(default_factory=lambda: np.zeros(0, np.float32))

    def build(self, state: object) -> None:
        """Take (version, shape, dtype, column order, bytes)."""
        _, shape, element, by_columns, held = _tuple(state, 5)
        if not isinstance(element, Element) or not isinstance(held, bytes):
            raise ValueError("a numpy array of something else than numbers")
        flat = np.frombuffer(held, element.dtype)
        sizes = _sizes(shape)
        if flat.size != np.prod(sizes, dtype=object):
            raise ValueError("a numpy array of another length than its shape says")
        self.value = flat.reshape(sizes, order="F" if by_columns is True else "C")


def tensor(storage: object, offset: object, shape: object, strides: object) -> Tensor:
    """A tensor whose view stays inside its storage; raises `ValueError`."""
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    made = Tensor(storage, _count(offset), _sizes(shape), _sizes(strides))
    if len(made.shape) != len(made.strides):
        raise ValueError("a tensor whose shape and strides differ in number")
    if made.reach > storage.count:
        raise ValueError("a tensor that reaches beyond its storage")
    return made


def _rebuild(*args: object) -> Tensor:
    if len(args) not in (4, 5, 6, 7) or (len(args) == 7 and args[6]):
        raise ValueError("a tensor with arguments unknown here")
    return tensor(*args[:4])


def _parameter(*args: object) -> Tensor:
    if not args or not isinstance(args[0], Tensor):
        raise ValueError("a parameter that is no tensor")
    return args[0]


def _subclass(*args: object) -> Tensor:
    function, _, arguments, _ = _tuple(args, 4)
    if not isinstance(function, Name) or function.full not in TENSOR_MAKERS:
        raise ValueError("a tensor made by something else")
    if not isinstance(arguments, tuple):
        raise ValueError("a tensor made of nothing")
    return TENSOR_MAKERS[function.full](*arguments)


def _mapping(*args: object) -> dict[object, object]:
    pairs = args[0] if args else ()
    if isinstance(pairs, dict):
        return dict(pairs)
    if len(args) > 1 or not isinstance(pairs, (list, tuple)):
        raise ValueError("a mapping of something that is none")
    made: dict[object, object] = {}
    for pair in pairs:
        name, value = _tuple(tuple(pair) if isinstance(pair, list) else pair, 2)
        made[_plain(name)] = value
    return made


def _items(*args: object) -> list[object]:
    held = args[0] if args else ()
    if len(args) > 1 or not isinstance(held, (list, tuple, set, frozenset)):
        raise ValueError("a list of something that is none")
    return list(cast("Iterable[object]", held))


def _set(*args: object) -> set[object]:
    return {_plain(item) for item in _items(*args)}


def _size(*args: object) -> tuple[int, ...]:
    return _sizes(tuple(_items(*args)))


def _place(*args: object) -> str:
    return ":".join(str(_plain(part)) for part in args[:2])


def _encode(*args: object) -> bytes:
    text, *codec = args
    if not isinstance(text, str) or (codec and codec[0] not in ("latin1", "latin-1")):
        raise ValueError("bytes in an unknown encoding")
    return text.encode("latin-1")


def _element(*args: object) -> Element:
    if not args or not isinstance(args[0], str) or args[0].lstrip("<|=") not in NUMPY:
        raise ValueError("a numpy dtype that is no number")
    return Element(args[0].lstrip("<|="))


def _scalar(*args: object) -> object:
    element, held = _tuple(args, 2)
    if not isinstance(element, Element) or not isinstance(held, bytes):
        raise ValueError("a numpy scalar that is no number")
    if len(held) != element.dtype.itemsize:
        raise ValueError("a numpy scalar of another size")
    return np.frombuffer(held, element.dtype)[0].item()


def _array(*_args: object) -> Array:
    return Array()


def _tuple(value: object, length: int) -> tuple[object, ...]:
    if not isinstance(value, tuple) or len(value) != length:
        raise ValueError(f"something that is no group of {length}")
    return value


def _plain(value: object) -> object:
    if not isinstance(value, (str, bytes, int, float, bool, type(None))):
        raise ValueError(f"a {type(value).__name__} as a name")
    return value


def _text(value: object) -> str:
    if not isinstance(value, (str, int)):
        raise ValueError("a storage without a key")
    return str(value)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 40:
        raise ValueError("a size that is none")
    return value


def _sizes(values: object) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > MOST_DIMS:
        raise ValueError("a shape that is none")
    return tuple(_count(value) for value in values)


TENSOR_MAKERS: Mapping[str, Callable[..., Tensor]] = {
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
BUILDERS: Mapping[str, Callable[..., object]] = {
    **TENSOR_MAKERS,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.Size": _size,
    "torch.device": _place,
    "torch.serialization._get_layout": _place,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": lambda *_: {},
    "_codecs.encode": _encode,
    **{
        f"{home}.{kind}": make
        for home in ("builtins", "__builtin__")
        for kind, make in (
            ("dict", _mapping),
            ("list", _items),
            ("tuple", lambda *args: tuple(_items(*args))),
            ("set", _set),
            ("frozenset", _set),
        )
    },
    "numpy.dtype": _element,
    **{
        f"numpy.{core}.multiarray.{what}": make
        for core in ("core", "_core")
        for what, make in (("scalar", _scalar), ("_reconstruct", _array))
    },
}
VALUES = frozenset(
    {
        *STORAGES,
        *(f"torch.{name}" for name in ELEMENTS),
        "torch.Tensor",
        "torch.nn.parameter.Parameter",
        "numpy.ndarray",
        *(f"{home}.{kind}" for home in ("builtins", "__builtin__") for kind in ("int", "float")),
    }
)
