"""Others' voice graphs behind one set of names, with the noise that they draw given from outside.

What comes out has the inputs and outputs of `stream.models.blackbox.INPUTS`. A graph that draws
its own noise says something else at every call and at every other cut; so each `RandomNormalLike`
in it becomes a piece of the input `noise`, which is numbered by absolute frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INNER: Final = "inner/"  # before the names of the graph inside
PRIOR_SPREAD: Final = 0.66666  # what RVC multiplies the noise on the latent by
LATENT: Final = 192  # rows of that noise
ROLES: Final[Mapping[str, str]] = {  # others' names of inputs: what they are for
    **{"feats": "features", "phone": "features", "p_len": "length", "phone_lengths": "length"},
    **{"pitch": "pitch", "pitchf": "f0", "sid": "speaker", "ds": "speaker", "rnd": "noise"},
    **{"skip_head": "skip", "return_length": "rest", "formant_length": "rest"},
}
BEGIN: Final = "dec.conv_pre.weight"  # of the decoder's convolution that takes the latent
SOURCE: Final = "dec.noise_convs."  # of those that take the excitation
RANDOM: Final = frozenset({"RandomNormalLike", "RandomUniformLike"})
RANDOM_FIXED: Final = frozenset({"RandomNormal", "RandomUniform"})
OTHER_RANDOM: Final = frozenset({"Multinomial", "Bernoulli"})


@dataclass(frozen=True)
class Spot:
    """Where a graph draws noise, and of what shape.

    node    its place in the graph's list of nodes
    shape   what it draws, without the axis of time
    axis    the axis of time; `None`: the same few numbers whatever the length
    ratio   steps along the axis of time in a frame of 10 ms
    """

    node: int
    shape: tuple[int, ...]
    axis: int | None = None
    ratio: int = 1

    @property
    def numbers(self) -> int:
        """Numbers a frame."""
        return self.ratio * prod(self.shape)


class Outside:
    """The nodes that are put around a graph. A value is its name."""

    def __init__(self) -> None:
        self.constants: list[Any] = []
        self._nodes: list[Any] = []
        self._count = 0

    def __call__(
        self, operator: str, *inputs: str, to: str = "", kind: int | None = None, **attributes: Any
    ) -> str:
        """Add an operator; its result is called `to`, its element type is `kind` if it casts."""
        name = to or self._fresh()
        if kind is not None:
            attributes["to"] = kind
        self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, array: Any) -> str:
        """A constant; integers are int64 and other numbers float32."""
        array = np.asarray(array)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = self._fresh()
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def reshape(self, value: str, *shape: int) -> str:
        """Another shape; -1 is what fits."""
        return self("Reshape", value, self.constant(np.array(shape, np.int64)))

    def part(self, value: str, start: int, end: int, axis: int) -> str:
        """value[start:end] along `axis`."""
        return self("Slice", value, *(self.constant([number]) for number in (start, end, axis)))

    def taken(self) -> list[Any]:
        """The operators since the last call."""
        nodes, self._nodes = self._nodes, []
        return nodes

    def _fresh(self) -> str:
        self._count += 1
        return f"outside/{self._count}"


def real_inputs(graph: Any) -> dict[str, Any]:
    """The inputs that are not weights; old exporters list those as well."""
    weights = {tensor.name for tensor in graph.initializer}
    return {value.name: value for value in graph.input if value.name not in weights}


def dims(value: Any) -> tuple[int | None, ...]:
    """The shape of an input or output; `None` where any size fits."""
    shape = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in shape)


def kind(value: Any) -> int:
    """The element type of an input or output."""
    return int(value.type.tensor_type.elem_type)


def random_nodes(graph: Any) -> list[int]:
    """The places of the nodes that draw noise of a shape that depends on the input."""
    return [i for i, node in enumerate(graph.node) if node.op_type in RANDOM]


def stubborn_nodes(graph: Any) -> list[str]:
    """What draws in a way that cannot be replaced."""
    found = [node.op_type for node in graph.node if node.op_type in OTHER_RANDOM]
    for inner in subgraphs(graph):
        drawing = RANDOM | RANDOM_FIXED | OTHER_RANDOM
        found += [f"{node.op_type} in a branch" for node in inner.node if node.op_type in drawing]
    return found


def subgraphs(graph: Any) -> Iterator[Any]:
    """The graphs inside a graph's nodes, at any depth."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                if inner.node:
                    yield inner
                    yield from subgraphs(inner)


def explicit_rows(graph: Any) -> int:
    """Rows of the noise that the graph takes as an input; 0 where it has none."""
    for name, value in real_inputs(graph).items():
        if ROLES[name] == "noise":
            return dims(value)[1] or LATENT
    return 0


def fixed_spots(graph: Any) -> list[Spot]:
    """Where noise of a fixed shape is drawn."""
    nodes = enumerate(graph.node)
    return [Spot(i, tuple(_said(n)["shape"])) for i, n in nodes if n.op_type in RANDOM_FIXED]


def noise_rows(graph: Any, spots: Sequence[Spot]) -> int:
    """Rows of the input `noise`: normal numbers a frame, at least 1."""
    moving = [spot for spot in spots if spot.axis is not None]
    return max(1, explicit_rows(graph) + sum(_normals(graph.node[s.node], s) for s in moving))


def cuttable(graph: Any) -> bool:
    """Whether it can be told where the decoder begins, and nothing is left out there already."""
    begins = any(_decoder_input(node) == BEGIN for node in graph.node)
    return begins and "skip" not in {ROLES[name] for name in real_inputs(graph)}


def wrapped(model: Any, dim: int, spots: Sequence[Spot] | None, cut: int = 0) -> Any:
    """A copy of `model` behind our names.

    dim     content features a frame
    cut     samples a frame, to let the decoder begin `skip` frames later; 0: it hears everything
    spots   where it draws noise; `None`: it goes on drawing, and further outputs `shape_0` ...
            tell the shapes, in the order of `random_nodes`, each followed by t other numbers
    """
    inner = onnx.compose.add_prefix(model, INNER)
    graph, out = inner.graph, Outside()
    _feed(out, real_inputs(model.graph))
    nodes = out.taken()
    outputs = [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["n"])]
    if spots is None:
        nodes += graph.node
        for i, at in enumerate(random_nodes(graph)):
            # `pitch` after it makes its length open, as it is for all outputs of a model of ours
            pitch = out.reshape("pitch", -1)
            out("Concat", out("Shape", graph.node[at].input[0]), pitch, to=f"shape_{i}", axis=0)
            info = helper.make_tensor_value_info(f"shape_{i}", TensorProto.INT64, ["rank_and_t"])
            outputs.append(info)
    else:
        opset = max(o.version for o in model.opset_import if o.domain in {"", "ai.onnx"})
        nodes += _quiet(graph, out, spots, explicit_rows(model.graph), opset)
    if cut:
        nodes = list(_cut(nodes, out, cut))
    said = out("Cast", graph.output[0].name, kind=TensorProto.FLOAT)
    out("Reshape", said, out.constant([-1]), to="audio")
    nodes += out.taken()
    inputs = _inputs(dim, noise_rows(model.graph, spots or ()))
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.extend(inputs)
    graph.output.extend(outputs)
    graph.initializer.extend(out.constants)
    return inner


def _inputs(dim: int, rows: int) -> list[Any]:
    """`stream.models.blackbox.INPUTS`, whether the graph uses them or not."""
    real, whole = TensorProto.FLOAT, TensorProto.INT64
    shapes: dict[str, tuple[int, list[Any]]] = {
        "features": (real, [1, "t", dim]),
        "pitch": (whole, [1, "t"]),
        "f0": (real, [1, "t"]),
        "speaker": (whole, [1]),
        "skip": (whole, [1]),
        "noise": (real, [1, rows, "t"]),
    }
    return [helper.make_tensor_value_info(n, of, shape) for n, (of, shape) in shapes.items()]


def _feed(out: Outside, inputs: Mapping[str, Any]) -> None:
    """Make the graph's own inputs from ours."""
    frames = out.part(out("Shape", "features"), 1, 2, 0)
    for name, value in inputs.items():
        source = ROLES[name]
        if source == "length":
            source = frames
        elif source == "rest":
            source = out("Sub", frames, "skip")
        elif source == "noise":
            rows = out.part("noise", 0, dims(value)[1] or LATENT, 1)
            source = out("Mul", rows, out.constant(PRIOR_SPREAD))
        if not dims(value):
            source = out.reshape(source)
        out("Cast", source, to=INNER + name, kind=kind(value))


def _quiet(graph: Any, out: Outside, spots: Sequence[Spot], row: int, opset: int) -> Iterator[Any]:
    """The graph's nodes; those that draw noise take the rows of `noise` from `row` on instead."""
    drawing = {spot.node: spot for spot in spots}
    for i, node in enumerate(graph.node):
        spot = drawing.get(i)
        if spot is None:
            yield node
            continue
        if spot.axis is None:
            normal = np.random.default_rng(i).standard_normal((2, *spot.shape))
            value = _spread(out, node, out.constant(normal[0]), out.constant(normal[1]))
        else:
            first = _rows(out, spot, row)
            second = _rows(out, spot, row + spot.numbers) if _is_uniform(node) else first
            value = _newest(out, _spread(out, node, first, second), node.input[0], spot.axis)
            row += _normals(node, spot)
        said = _said(node).get("dtype")
        if said is None and node.op_type in RANDOM and opset >= 15:
            out("CastLike", value, node.input[0], to=node.output[0])
        else:
            out("Cast", value, to=node.output[0], kind=said or TensorProto.FLOAT)
        yield from out.taken()


def _cut(nodes: Sequence[Any], out: Outside, hop: int) -> Iterator[Any]:
    """The nodes; the decoder's first convolutions hear their input from frame `skip` on.

    The decoder is most of the work, and of a window only the end is wanted. What the cut spoils
    are the frames after it that the decoder's convolutions reach.
    """
    end = np.iinfo(np.int64).max
    for node in nodes:
        part = _decoder_input(node)
        if part is not None:
            start = "skip" if part == BEGIN else out("Mul", "skip", out.constant([hop]))
            bounds = (start, out.constant([end]), out.constant([2]))
            node.input[0] = out("Slice", node.input[0], *bounds)
            yield from out.taken()
        yield node


def _decoder_input(node: Any) -> str | None:
    """Which of the decoder's inputs the node takes: its latent, or its excitation."""
    weight = node.input[1] if node.op_type == "Conv" else ""
    return next((part for part in (BEGIN, SOURCE) if part in weight), None)


def _rows(out: Outside, spot: Spot, row: int) -> str:
    """Rows of `noise` [1, rows, t] as [.., t ratio, ..] with time where the spot has it."""
    frames = out("Transpose", out.part("noise", row, row + spot.numbers, 1), perm=[2, 0, 1])
    steps = out.reshape(frames, -1, *spot.shape)
    order = list(range(1, len(spot.shape) + 1))
    order.insert(spot.axis or 0, 0)
    return out("Transpose", steps, perm=order)


def _spread(out: Outside, node: Any, first: str, second: str) -> str:
    """Normal numbers as the node would draw them.

    exp(-(a^2 + b^2) / 2) is uniform in 0..1 for normal a and b (Box and Muller, 1958, backwards).
    """
    said = _said(node)
    if not _is_uniform(node):
        scaled = out("Mul", first, out.constant(float(said.get("scale", 1.0))))
        return out("Add", scaled, out.constant(float(said.get("mean", 0.0))))
    low, high = float(said.get("low", 0.0)), float(said.get("high", 1.0))
    power = out("Add", out("Mul", first, first), out("Mul", second, second))
    uniform = out("Exp", out("Mul", power, out.constant(-0.5)))
    return out("Add", out("Mul", uniform, out.constant(high - low)), out.constant(low))


def _newest(out: Outside, value: str, like: str, axis: int) -> str:
    """As many steps of `value` as `like` has: the last ones, where a graph skips the first."""
    steps = out.part(out("Shape", like), axis, axis + 1, 0)
    end = np.iinfo(np.int64).max
    return out("Slice", value, out("Neg", steps), out.constant([end]), out.constant([axis]))


def _normals(node: Any, spot: Spot) -> int:
    """Normal numbers a frame that the node takes."""
    return spot.numbers * (2 if _is_uniform(node) else 1)


def _is_uniform(node: Any) -> bool:
    return node.op_type.startswith("RandomUniform")


def _said(node: Any) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
