"""Read HuBERT-base-shaped checkpoints: the form of `transformers` and that of fairseq."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from stream.errors import BadCheckpoint
from stream.importer.graphs.hubert import FRONT_END, POSITIONS, PROJECTION, Array, HubertShape
from stream.importer.harmless import Inert
from stream.importer.tensors import TensorFile, read_tensors

FAIRSEQ = (  # classes of the settings in fairseq's checkpoints; read as records, never imported
    *("argparse.Namespace", "fairseq.", "omegaconf.", "typing.", "pathlib."),
    *("builtins.str", "builtins.bool", "__builtin__.str"),
)
RENAMED = (  # fairseq's names: those of `transformers`
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"^feature_extractor\.conv_layers\.(\d+)\.2(\.1)?\.", rf"{FRONT_END}.\1.layer_norm."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^encoder\.pos_conv\.0\.", f"{POSITIONS}."),
    (r"\.self_attn\.", ".attention."),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
)
NORMS = (  # weight norm's two parts, older and newer names
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)
OURS = ("feature_extractor.", "feature_projection.", "encoder.", f"{PROJECTION}.")
MOST_SETTINGS = 8  # levels of a settings tree that are searched
SETTINGS: Mapping[str, Any] = {  # what config.json says of a HuBERT-base, where it says it
    "do_stable_layer_norm": False,
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "hidden_act": "gelu",
    "conv_bias": False,
    "conv_pos_batch_norm": False,
    "feat_proj_layer_norm": True,
    "conv_kernel": list(HubertShape.kernels),
    "conv_stride": list(HubertShape.strides),
    "layer_norm_first": False,  # fairseq's words for the first two
    "extractor_mode": "default",
}


@dataclass(frozen=True)
class HubertFile:
    """A HuBERT: all its layers, weights float32 under the names of `transformers`, norm folded."""

    path: Path
    shape: HubertShape
    weights: Mapping[str, Array]


def read_hubert(path: Path, config: Mapping[str, Any]) -> HubertFile:
    """The HuBERT in a `.bin`, `.pt` or `.safetensors` file; `config` is its config.json, or empty.

    Raises `BadCheckpoint` when it is none, is of another shape than HuBERT-base in what the
    engine relies on, or holds numbers that are none; and `HostileFile`.
    """
    held = read_tensors(path, inert=FAIRSEQ)
    settings = {name: found for name in SETTINGS for found in _search(held.extra, name)}
    for name, found in {**settings, **config}.items():
        if name in SETTINGS and not _same(found, SETTINGS[name]):
            raise BadCheckpoint(
                path, f"it is a HuBERT of another kind: {name} is {found}, not {SETTINGS[name]}."
            )
    tensors = _folded(_named(held), path)
    shape = _shape(tensors, config, path)
    weights: dict[str, Array] = {}
    for name, size in expected(shape).items():
        if name not in tensors:
            raise BadCheckpoint(path, f"it lacks the tensor {name}.")
        if tensors[name].shape != size:
            raise BadCheckpoint(path, f"{name} is {tensors[name].shape}, expected {size}.")
        weights[name] = tensors[name].astype(np.float32, copy=False)
        if not np.isfinite(weights[name]).all():
            raise BadCheckpoint(path, f"{name} holds numbers that are none (NaN or infinite).")
    strange = sorted(name for name in tensors if name.startswith(OURS) and name not in weights)
    if strange:
        raise BadCheckpoint(path, f"it is no HuBERT-base: it has the tensor {strange[0]} as well.")
    return HubertFile(path, shape, weights)


def read_config(files: Sequence[Path]) -> Mapping[str, Any]:
    """The config.json among `files`, told by what is in it; empty when there is none."""
    for path in files:
        if path.suffix.lower() != ".json":
            continue
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BadCheckpoint(path, f"it is no JSON ({error}).") from error
        if isinstance(found, dict) and "model_type" in found:
            return cast(dict[str, Any], found)
    return {}


def expected(shape: HubertShape) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of such a HuBERT, without the optional `final_proj`."""
    sizes: dict[str, tuple[int, ...]] = {}

    def pair(name: str, *size: int) -> None:
        sizes[f"{name}.weight"], sizes[f"{name}.bias"] = size, size[:1]

    for i, kernel in enumerate(shape.kernels):
        inputs = shape.channels if i else 1
        sizes[f"{FRONT_END}.{i}.conv.weight"] = (shape.channels, inputs, kernel)
    pair(f"{FRONT_END}.0.layer_norm", shape.channels)
    pair("feature_projection.layer_norm", shape.channels)
    pair("feature_projection.projection", shape.width, shape.channels)
    pair(POSITIONS, shape.width, shape.width // shape.groups, shape.reach)
    pair("encoder.layer_norm", shape.width)
    for i in range(shape.layers):
        for part in ("q", "k", "v", "out"):
            pair(f"encoder.layers.{i}.attention.{part}_proj", shape.width, shape.width)
        pair(f"encoder.layers.{i}.feed_forward.intermediate_dense", shape.inner, shape.width)
        pair(f"encoder.layers.{i}.feed_forward.output_dense", shape.width, shape.inner)
        pair(f"encoder.layers.{i}.layer_norm", shape.width)
        pair(f"encoder.layers.{i}.final_layer_norm", shape.width)
    if shape.projected:
        pair(PROJECTION, shape.dim, shape.width)
    return sizes


def _named(held: TensorFile) -> dict[str, Array]:
    """The tensors of the HuBERT in a file, whatever it lies in, as `transformers` names them."""
    starts = [
        name[: name.index("feature_extractor.conv_layers.0.")]
        for name in held.tensors
        if "feature_extractor.conv_layers.0." in name
    ]
    if not starts:
        raise BadCheckpoint(held.path, "it holds no HuBERT (feature_extractor.conv_layers).")
    prefix = starts[0]
    named: dict[str, Array] = {}
    for full, tensor in held.tensors.items():
        name = full.removeprefix(prefix)
        for found, other in RENAMED:
            name = re.sub(found, other, name)
        # a model with a head on top has its `final_proj` beside the HuBERT, not in it
        if full.startswith(prefix) or name.startswith(f"{PROJECTION}."):
            named[name] = tensor
    return named


def _folded(tensors: dict[str, Array], path: Path) -> dict[str, Array]:
    """Weight norm of the positional convolution multiplied out, w = g v / |v| per kernel place."""
    for gain, direction in NORMS:
        g = tensors.pop(f"{POSITIONS}.{gain}", None)
        v = tensors.pop(f"{POSITIONS}.{direction}", None)
        if g is None and v is None:
            continue
        if g is None or v is None or v.ndim != 3 or g.shape != (1, 1, v.shape[2]):
            raise BadCheckpoint(path, f"the weight norm of {POSITIONS} is broken.")
        wide = v.astype(np.float64)
        size = np.sqrt(np.sum(wide * wide, axis=(0, 1), keepdims=True))
        folded = wide * g / np.where(size > 0.0, size, 1.0)
        tensors[f"{POSITIONS}.weight"] = folded.astype(np.float32)
    return tensors


def _shape(tensors: Mapping[str, Array], config: Mapping[str, Any], path: Path) -> HubertShape:
    def size(name: str, axis: int, dims: int) -> int:
        if name not in tensors or tensors[name].ndim != dims or not tensors[name].shape[axis]:
            raise BadCheckpoint(path, f"it lacks the tensor {name}, or it has another shape.")
        return int(tensors[name].shape[axis])

    numbers = [re.match(r"encoder\.layers\.(\d+)\.", name) for name in tensors]
    layers = 1 + max((int(found[1]) for found in numbers if found), default=-1)
    if not layers:
        raise BadCheckpoint(path, "it has no transformer layers (encoder.layers).")
    width = size("feature_projection.projection.weight", 0, 2)
    heads = config.get("num_attention_heads", max(1, width // 64))
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise BadCheckpoint(path, f"its {width} columns cannot be {heads} attention heads.")
    epsilon = config.get("layer_norm_eps", HubertShape.epsilon)
    if not isinstance(epsilon, float) or not 0.0 < epsilon < 1.0:
        raise BadCheckpoint(path, f"layer_norm_eps cannot be {epsilon}.")
    projected = f"{PROJECTION}.weight" in tensors
    return HubertShape(
        channels=size(f"{FRONT_END}.0.conv.weight", 0, 3),
        width=width,
        heads=heads,
        inner=size("encoder.layers.0.feed_forward.intermediate_dense.weight", 0, 2),
        layers=layers,
        reach=size(f"{POSITIONS}.weight", 2, 3),
        groups=max(1, width // size(f"{POSITIONS}.weight", 1, 3)),
        epsilon=epsilon,
        projected=projected,
        dim=size(f"{PROJECTION}.weight", 0, 2) if projected else width,
    )


def _same(found: object, wanted: object) -> bool:
    return list(found) == wanted if isinstance(found, (list, tuple)) else found == wanted


def _search(tree: object, name: str, depth: int = 0) -> Iterator[object]:
    """What `name` is set to, wherever a tree of settings says it; a wrapped value is unwrapped."""
    if isinstance(tree, Inert):
        yield from _search(tree.state, name, depth)
    elif isinstance(tree, dict) and depth < MOST_SETTINGS:
        for key, value in cast(dict[object, object], tree).items():
            if key != name:
                yield from _search(value, name, depth + 1)
            elif isinstance(value, Inert):
                yield from _search(value.state, "_val", depth + 1)
            elif value is not None:
                yield value
    elif isinstance(tree, tuple):  # of an object with slots: (dict, dict of slots)
        for part in cast(tuple[object, ...], tree):
            yield from _search(part, name, depth + 1)
