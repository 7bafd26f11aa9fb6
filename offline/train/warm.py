"""What a voice's exported graph still knows of its training: the weights, and the latent's scale.

So the next voice starts from a voice that speaks already, with nothing beside the bundle.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from offline.train.synth import Synthesizer
from stream.errors import BadCheckpoint

SCALE = "timbral.latent"
"""The property of a graph that holds the latent's mean and deviation as JSON."""
BLOCK, ZERO = 32, 128  # of ONNX Runtime's MatMulNBits at 8 bits
_LAYER = re.compile(r"/((?:enc_p|flow|dec)/.+)/MatMul(?:_\d+)?_Q8$")
_TABLE = re.compile(r"/(enc_p/encoder/attn_layers\.\d+)/MatMul(?:_\d+)?_Q8$")

Array = NDArray[np.float32]
Scale = tuple[Array, Array]
"""Mean and deviation of the log-mel bands, [Z] each, that the latent is normalised by."""


def keep_scale(path: Path, scale: Scale) -> None:
    """Write the latent's scale into the graph at `path`, replacing the file in one go."""
    model = onnx.load(str(path))
    held = {"mean": scale[0].tolist(), "std": scale[1].tolist()}
    kept = [p for p in model.metadata_props if p.key != SCALE]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=SCALE, value=json.dumps(held))
    draft = path.with_suffix(".draft")
    onnx.save(model, str(draft))
    os.replace(draft, path)


def scale_in(path: Path) -> Scale | None:
    """What `keep_scale` wrote; None where nobody did."""
    for prop in onnx.load(str(path)).metadata_props:
        if prop.key == SCALE:
            held = json.loads(prop.value)
            return np.asarray(held["mean"], np.float32), np.asarray(held["std"], np.float32)
    return None


def warm(synth: Synthesizer, path: Path) -> None:
    """Give `synth` the weights in the graph that `export_synth` wrote to `path`.

    A new synthesizer may have more speakers than the graph: each starts as its first.
    Law: exporting the result gives the graph's numbers again, as far as 8 bits hold them.
    Raises `BadCheckpoint` when the graph is of another shape.
    """
    found = weights_in(path)
    wanted = synth.state_dict()
    for name, value in wanted.items():
        if name not in found:
            raise BadCheckpoint(path, f"its graph has no {name}; it is no narrow voice of ours.")
        given = torch.from_numpy(found[name])
        if name == "emb_g.weight":
            given = given[:1].expand_as(value)
        elif name.endswith(("emb_rel_k", "emb_rel_v")):
            given = _table(given, value)
        if given.numel() != value.numel():
            raise BadCheckpoint(
                path, f"its {name} is {tuple(given.shape)}, the new voice's {tuple(value.shape)}."
            )
        wanted[name] = _as_conv(synth, name, given, value)
    synth.load_state_dict(wanted)


def _as_conv(synth: nn.Module, name: str, given: Tensor, like: Tensor) -> Tensor:
    """A matrix [out, taps * channels] as a convolution's weight [out, channels, taps]."""
    if like.ndim == 3 and given.ndim == 2 and name.endswith(".weight"):
        given = given.reshape(like.shape[0], like.shape[2], like.shape[1]).transpose(1, 2)
    return given.reshape(like.shape).contiguous()


def _table(given: Tensor, like: Tensor) -> Tensor:
    """[reach, D] of the past, oldest first -> [1, 2 w + 1, D]; the unused half as it is."""
    window = like.shape[1] // 2
    table = like.clone()
    table[0, : window + 1] = given[-(window + 1) :]
    return table


def weights_in(path: Path) -> dict[str, Array]:
    """The graph's parameters by their names, 8-bit matrices as [out, in]."""
    model = onnx.load(str(path))
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found: dict[str, Array] = {}
    for name, value in tensors.items():
        plain = re.search(r"((?:enc_p|flow|dec|emb_g)\..+?)(\.half)?$", name)
        if plain:
            found[plain[1]] = value.astype(np.float32)
    return {**found, **dict(_matrices(model, tensors))}


def _matrices(model: onnx.ModelProto, tensors: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        sizes = {a.name: a.i for a in node.attribute}
        scales = tensors.get(node.input[2], tensors.get(f"{node.input[2]}.half"))
        matrix = _dequantised(tensors[node.input[1]], scales, sizes["K"])
        table, layer = _TABLE.search(node.name), _LAYER.search(node.name)
        if table:  # of keys as [reach, D], of values as [D, reach]
            keys = "rel_k" if _is_keys(node, model) else "rel_v"
            rows = matrix if keys == "rel_k" else matrix.T
            yield f"{table[1].replace('/', '.')}.emb_{keys}", rows
        elif layer:
            yield f"{layer[1].replace('/', '.')}.weight", matrix


def _is_keys(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Whether the table multiplies queries: what values are mixed by is a softmax."""
    made_by = {output: n.op_type for n in model.graph.node for output in n.output}
    return made_by.get(node.input[0]) != "Softmax"


def _dequantised(packed: Any, scales: Any, columns: int) -> Array:
    """[N, blocks, 32] bytes and their scales -> [N, columns]."""
    rows, blocks = packed.shape[:2]
    centred = packed.astype(np.float32) - ZERO
    scaled = centred * np.asarray(scales, np.float32).reshape(rows, blocks, 1)
    return scaled.reshape(rows, -1)[:, :columns]
