"""Read a pickle without running it: what it describes becomes plain data, or it is refused.

A pickle is a program for a small stack machine. This one has that machine's opcodes but no way to
import or call anything: the few names that checkpoints need (`harmless.py`) stand for functions
written here, names that the caller calls inert become `Inert` records, and every other name is
refused before it means anything.
"""

import pickletools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from stream.errors import HostileFile
from stream.importer.harmless import BUILDERS, VALUES, Built, Inert, Name, Storage

MOST_OPS: Final = 1_000_000  # a voice has about 20 thousand
MOST_COPIED: Final = 1 << 24  # items and letters that calls may copy
SIZED = (str, bytes, list, tuple, dict, set, frozenset)
SCALARS = (str, bytes, int, float, bool, type(None))


def load(file: BinaryIO, path: Path, inert: tuple[str, ...] = ()) -> object:
    """What the pickle at the file's position describes; the file is left behind its end.

    path   for messages
    inert  names of classes that become `Inert`; one that ends in "." means all that begin so

    Law: nothing named in the file is imported or called, whatever the bytes are. Raises
    `HostileFile` for a name that is neither harmless nor inert, `ValueError` for a broken pickle.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a text's wrong escapes
        return _Machine(path, inert).run(file)


class _Mark:
    """Where a collection begins on the stack."""


class _Machine:
    def __init__(self, path: Path, inert: tuple[str, ...]) -> None:
        self._path = path
        self._inert = inert
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._copied = 0

    def run(self, file: BinaryIO) -> object:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(file)):
            if count == MOST_OPS:
                raise HostileFile(self._path, f"its pickle has more than {MOST_OPS} instructions")
            if opcode.name == "STOP":
                break
            if opcode.name in PUSHED:
                self._stack.append(arg)
            elif opcode.name in ACTIONS:
                ACTIONS[opcode.name](self, arg)
            elif opcode.name not in NOTHING:
                self._refuse(f"the pickle instruction {opcode.name}")
        return self._pop()

    def name(self, full: str) -> None:
        if full not in BUILDERS and full not in VALUES and not self._is_inert(full):
            self._refuse(full)
        self._stack.append(Name(full))

    def global_name(self, arg: object) -> None:
        self.name(str(arg).replace(" ", ".", 1))

    def stack_global(self, _arg: object) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is no text")
        self.name(f"{module}.{name}")

    def reduce(self, _arg: object) -> None:
        args, function = self._pop(), self._pop()
        self._make(function, args)

    def new_object(self, _arg: object) -> None:
        args, kind = self._pop(), self._pop()
        self._make(kind, args)

    def new_object_with_names(self, _arg: object) -> None:
        names, args, kind = self._pop(), self._pop(), self._pop()
        if names:
            raise ValueError("an object made with named arguments")
        self._make(kind, args)

    def old_object(self, _arg: object) -> None:
        items = self._since_mark()
        if not items:
            raise ValueError("an object without a class")
        self._make(items[0], tuple(items[1:]))

    def instance(self, arg: object) -> None:
        items = self._since_mark()
        self.global_name(arg)
        self._make(self._pop(), tuple(items))

    def build(self, _arg: object) -> None:
        """Give the object below its state; what a plain collection carries besides is dropped."""
        state, target = self._pop(), self._top()
        if isinstance(target, Built):
            target.build(state)
        elif not isinstance(target, (dict, list, set)):
            raise ValueError("state for something that has none")

    def persistent(self, _arg: object) -> None:
        self._stack.append(Storage.of(self._pop()))

    def mark(self, _arg: object) -> None:
        self._stack.append(_Mark())

    def pop(self, _arg: object) -> None:
        if not self._stack:
            raise ValueError("an empty stack")
        self._stack.pop()

    def pop_mark(self, _arg: object) -> None:
        self._since_mark()

    def duplicate(self, _arg: object) -> None:
        self._stack.append(self._top())

    def empty(self, kind: Callable[[], object]) -> None:
        self._stack.append(kind())

    def listed(self, _arg: object) -> None:
        self._stack.append(self._since_mark())

    def tupled(self, _arg: object) -> None:
        self._stack.append(tuple(self._since_mark()))

    def tupled_last(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def frozen(self, _arg: object) -> None:
        self._stack.append(frozenset(key(item) for item in self._since_mark()))

    def mapped(self, _arg: object) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._set_items(items)

    def append(self, _arg: object) -> None:
        self._append([self._pop()])

    def append_all(self, _arg: object) -> None:
        self._append(self._since_mark())

    def set_item(self, _arg: object) -> None:
        value, name = self._pop(), self._pop()
        self._set_items([name, value])

    def set_all(self, _arg: object) -> None:
        self._set_items(self._since_mark())

    def add_all(self, _arg: object) -> None:
        items, target = self._since_mark(), self._top()
        if not isinstance(target, set):
            raise ValueError("members for something that is no set")
        target.update(key(item) for item in items)

    def put(self, arg: object) -> None:
        self._memo[_index(arg)] = self._top()

    def memoize(self, _arg: object) -> None:
        self._memo[len(self._memo)] = self._top()

    def get(self, arg: object) -> None:
        if _index(arg) not in self._memo:
            raise ValueError("a reference to nothing")
        self._stack.append(self._memo[_index(arg)])

    def _append(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            raise ValueError("items for something that is no list")

    def _set_items(self, items: list[object]) -> None:
        target = self._top()
        if len(items) % 2 or not isinstance(target, (dict, Inert)):
            raise ValueError("entries for something that is no mapping")
        if isinstance(target, dict):
            target.update(zip(map(key, items[::2]), items[1::2], strict=True))

    def _make(self, function: object, args: object) -> None:
        if not isinstance(function, Name) or not isinstance(args, tuple):
            raise ValueError("a call of something that is no name")
        self._copied += sum(len(arg) for arg in args if isinstance(arg, SIZED))
        if self._copied > MOST_COPIED:
            raise HostileFile(self._path, "its pickle copies the same things over and over")
        build = BUILDERS.get(function.full)
        if build is not None:
            self._stack.append(build(*args))
        elif function.full in VALUES:
            raise ValueError(f"a call of {function.full}")
        else:
            self._stack.append(Inert(function.full))

    def _is_inert(self, full: str) -> bool:
        return any(
            full.startswith(known) if known.endswith(".") else full == known
            for known in self._inert
        )

    def _refuse(self, what: str) -> None:
        shown = "".join(letter if letter.isprintable() else "?" for letter in what[:80])
        raise HostileFile(
            self._path, f"it asks for {shown}, but a model needs only tensors, numbers and text"
        )

    def _top(self) -> object:
        value = self._stack[-1] if self._stack else _Mark()
        if isinstance(value, _Mark):
            raise ValueError("an empty stack")
        return value

    def _pop(self) -> object:
        self._top()
        return self._stack.pop()

    def _since_mark(self) -> list[object]:
        for at in range(len(self._stack) - 1, -1, -1):
            if isinstance(self._stack[at], _Mark):
                items = self._stack[at + 1 :]
                del self._stack[at:]
                return items
        raise ValueError("a collection without a beginning")


def key(value: object) -> object:
    """`value` if it can be a key: anything nested is refused, as hashing it may not end."""
    if not isinstance(value, SCALARS):
        raise ValueError(f"a {type(value).__name__} as a key")
    return value


def _index(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError("a reference that is no number")
    return value


NOTHING = frozenset({"PROTO", "FRAME"})
PUSHED = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
ACTIONS: Mapping[str, Callable[[_Machine, object], None]] = {
    "NONE": lambda machine, _: machine.empty(lambda: None),
    "NEWTRUE": lambda machine, _: machine.empty(lambda: True),
    "NEWFALSE": lambda machine, _: machine.empty(lambda: False),
    "EMPTY_LIST": lambda machine, _: machine.empty(list),
    "EMPTY_DICT": lambda machine, _: machine.empty(dict),
    "EMPTY_SET": lambda machine, _: machine.empty(set),
    "EMPTY_TUPLE": lambda machine, _: machine.empty(tuple),
    "TUPLE1": lambda machine, _: machine.tupled_last(1),
    "TUPLE2": lambda machine, _: machine.tupled_last(2),
    "TUPLE3": lambda machine, _: machine.tupled_last(3),
    "TUPLE": _Machine.tupled,
    "LIST": _Machine.listed,
    "DICT": _Machine.mapped,
    "FROZENSET": _Machine.frozen,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.append_all,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_all,
    "ADDITEMS": _Machine.add_all,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.duplicate,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.global_name,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "NEWOBJ_EX": _Machine.new_object_with_names,
    "OBJ": _Machine.old_object,
    "INST": _Machine.instance,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
