"""Weights of several voices' graphs mixed into one: the constants of graphs of the same form.

Graphs are compared by what they compute, not by names: the same operators in the same order with
the same settings, fed by the same. Then constants at the same place belong together.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from stream.errors import BadBundle, ConfigError

Array = NDArray[Any]
Place = tuple[int, int]  # number of a node, number of its input

BLOCK, ZERO, MOST = 32, 128, 127  # of ONNX Runtime's MatMulNBits at 8 bits
OUTSIDE: Final = 4096  # bytes of a constant from which it lies in the file beside
SPEAKERS: Final = "emb_g"  # in the name of the table that has a row for each speaker


@dataclass(frozen=True)
class Weights:
    """What a graph holds at its places: float32, matrices of 8 bits as they are multiplied."""

    values: Mapping[Place, Array]

    @property
    def count(self) -> int:
        """How many numbers."""
        return sum(value.size for value in self.values.values())


def read_weights(path: Path) -> Weights:
    """The numbers of the graph at `path`, each tensor once; raises `BadBundle`."""
    graph = _Graph(path)
    seen: set[str] = set()
    found: dict[Place, Array] = {}
    for place, name in graph.places():
        if name not in seen and graph.tensors[name].dtype.kind == "f":
            found[place] = graph.tensors[name].astype(np.float32)
        seen.add(name)
    for node, (matrix, scales) in graph.quantised().items():
        found.pop(graph.place_of(scales), None)
        found[node, 1] = dequantised(graph.tensors[matrix], graph.tensors[scales])
    return Weights(found)


def write_mixture(sources: Sequence[Path], shares: Sequence[float], target: Path) -> None:
    """Write the graph whose constants are the sum of those of `sources`, `shares` of each.

    shares  sum to 1, so that what all graphs have in common stays; negative ones take away

    Laws: shares of 1 and zeros give the first graph's numbers; the mixture of a graph with itself
    is that graph. Matrices of 8 bits are mixed as what they stand for and rounded again. Raises
    `ConfigError` when the graphs differ in more than numbers, `BadBundle` when one cannot be read.
    """
    if abs(sum(shares) - 1.0) > 1e-6:
        raise ValueError(f"shares must sum to 1, got {sum(shares)}")
    graphs = [_Graph(path) for path in sources]
    for other in graphs[1:]:
        if other.form() != graphs[0].form():
            raise ConfigError(
                f"{sources[0].name} of these voices differs in more than numbers: they were made "
                "by other versions of timbral, or are of other sizes. Add or export them again."
            )
    held = [(graph, share) for graph, share in zip(graphs, shares, strict=True) if share]
    mixer = _Mixer([graph for graph, _ in held], [share for _, share in held])
    mixer.write(target, sources[0].with_suffix(".bin").is_file())


def dequantised(matrix: Array, scales: Array) -> Array:
    """MatMulNBits' [n, blocks, 32] bytes and [n, blocks] scales -> [n, 32 blocks] numbers."""
    steps = scales.astype(np.float32).reshape(matrix.shape[0], -1, 1)
    return ((matrix.astype(np.float32) - ZERO) * steps).reshape(matrix.shape[0], -1)


def quantised(values: Array, scales: Array) -> tuple[Array, Array]:
    """The other way, with scales of the type and shape of `scales`; rounded to the nearest."""
    blocks = values.reshape(values.shape[0], -1, BLOCK)
    steps = (np.abs(blocks).max(axis=2, keepdims=True) / MOST).astype(scales.dtype)
    apart = np.where(steps > 0, steps, 1).astype(np.float32)
    bytes_ = np.clip(np.rint(blocks / apart) + ZERO, 0, 255).astype(np.uint8)
    return bytes_, steps.reshape(scales.shape)


class _Graph:
    def __init__(self, path: Path) -> None:
        try:
            self.model: Any = onnx.load(str(path))
        except (OSError, DecodeError, ValueError) as error:
            raise BadBundle(path.parent, f"{path.name} cannot be read ({error})") from error
        self.nodes: list[Any] = list(self.model.graph.node)
        self.tensors: dict[str, Array] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer
        }

    def places(self) -> Iterator[tuple[Place, str]]:
        """Where constants are used."""
        for i, node in enumerate(self.nodes):
            for j, name in enumerate(node.input):
                if name in self.tensors:
                    yield (i, j), name

    def place_of(self, wanted: str) -> Place:
        """Where that constant is used first."""
        return next(place for place, name in self.places() if name == wanted)

    def quantised(self) -> dict[int, tuple[str, str]]:
        """The nodes that multiply by 8 bits: their matrix, and its scales before any cast."""
        cast = {n.output[0]: n.input[0] for n in self.nodes if n.op_type == "Cast"}
        return {
            i: (node.input[1], cast.get(node.input[2], node.input[2]))
            for i, node in enumerate(self.nodes)
            if node.op_type == "MatMulNBits"
        }

    def form(self) -> list[Any]:
        """All that two graphs must have in common to be mixed."""
        made = {
            name: (i, j) for i, node in enumerate(self.nodes) for j, name in enumerate(node.output)
        }
        return [
            (
                node.op_type,
                sorted(a.SerializeToString(deterministic=True) for a in node.attribute),
                [self._fed(name, made) for name in node.input],
            )
            for node in self.nodes
        ]

    def _fed(self, name: str, made: Mapping[str, Place]) -> object:
        if name not in self.tensors:
            return made.get(name, name)
        tensor = self.tensors[name]
        if tensor.dtype.kind == "i":
            return tensor.shape, tensor.tobytes()
        rows = 0 if SPEAKERS in name else tensor.shape[:1]
        return tensor.dtype.str, rows, tensor.shape[1:]


class _Mixer:
    """Mixes place by place; places that share a tensor in every graph share one again."""

    def __init__(self, graphs: Sequence[_Graph], shares: Sequence[float]) -> None:
        self._graphs, self._shares = graphs, shares
        self._names: dict[tuple[str, ...], str] = {}
        self._new: dict[str, Array] = {}

    def write(self, target: Path, beside: bool) -> None:
        """Write the mixture; `beside`: with large constants in a file of their own."""
        first = self._graphs[0]
        done = self._matrices()
        used = [dict(graph.places()) for graph in self._graphs]
        for place, name in used[0].items():
            names = tuple(graph[place] for graph in used)
            if names not in self._names:
                mixed = done.get(name)
                tensors = [g.tensors[n] for g, n in zip(self._graphs, names, strict=True)]
                self._keep(names, self._mixed(tensors) if mixed is None else mixed)
            first.nodes[place[0]].input[place[1]] = self._names[names]
        del first.model.graph.initializer[:]
        first.model.graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in self._new.items()
        )
        self._properties(first.model)
        if beside:
            onnx.save(
                first.model,
                str(target),
                save_as_external_data=True,
                location=target.with_suffix(".bin").name,
                size_threshold=OUTSIDE,
            )
        else:
            onnx.save(first.model, str(target))

    def _keep(self, names: tuple[str, ...], value: Array) -> None:
        name, count = names[0], 1
        while name in self._new:
            name, count = f"{names[0]}_{count}", count + 1
        self._names[names] = name
        self._new[name] = value

    def _matrices(self) -> dict[str, Array]:
        """The first graph's tensors that are 8-bit matrices and their scales: mixed."""
        done: dict[str, Array] = {}
        rows = [graph.quantised() for graph in self._graphs]
        for node, (matrix, scales) in rows[0].items():
            if matrix in done:
                continue
            found = [
                (g.tensors[r[node][0]], g.tensors[r[node][1]])
                for g, r in zip(self._graphs, rows, strict=True)
            ]
            if all(_same(one[0], found[0][0]) and _same(one[1], found[0][1]) for one in found):
                done[matrix], done[scales] = found[0]
                continue
            mixed = self._sum([dequantised(*one) for one in found])
            done[matrix], done[scales] = quantised(mixed, found[0][1])
        return done

    def _mixed(self, tensors: Sequence[Array]) -> Array:
        if tensors[0].dtype.kind != "f" or all(_same(one, tensors[0]) for one in tensors):
            return tensors[0]
        rows = min(len(one) for one in tensors)
        return self._sum([one[:rows] for one in tensors]).astype(tensors[0].dtype)

    def _sum(self, tensors: Sequence[Array]) -> Array:
        total = np.zeros(tensors[0].shape, np.float64)
        for share, tensor in zip(self._shares, tensors, strict=True):
            total += share * tensor
        return total.astype(np.float32)

    def _properties(self, model: Any) -> None:
        """Lists of numbers among what the graphs say of themselves are mixed as well."""
        said = [{p.key: p.value for p in graph.model.metadata_props} for graph in self._graphs]
        for prop in model.metadata_props:
            values = [_lists(one.get(prop.key, "")) for one in said]
            if all(value is not None and set(value) == set(values[0] or ()) for value in values):
                held = {
                    key: self._sum([np.asarray((v or {})[key]) for v in values]).tolist()
                    for key in values[0] or ()
                }
                prop.value = json.dumps(held)


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and np.array_equal(one, other)


def _lists(text: str) -> dict[str, list[float]] | None:
    """A JSON object of lists of numbers, or None."""
    try:
        held = json.loads(text)
    except ValueError:
        return None
    if not isinstance(held, dict) or not all(isinstance(v, list) for v in held.values()):
        return None
    return {str(key): [float(v) for v in value] for key, value in held.items()}
