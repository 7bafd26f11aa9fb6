"""Makes `stream/models/assets/swift-f0.onnx` from the model in swift-f0's wheel.

    pip download --no-deps swift-f0==0.3.0
    python -m offline.train.swift swift_f0-0.3.0-py3-none-any.whl swift-f0.onnx

The original takes audio, sets frames 256 samples apart from its start on, and ends at the last
whole frame. A live stream needs frames counted from the newest sample backwards, and several
windows at once; so the graph is cut behind its spectra, which `stream.models.f0` computes. What
follows them, weights and all, stays as it is. SwiftF0: Nieradzik, "SwiftF0: Fast and Accurate
Monophonic Pitch Detection", 2025; MIT licence.
"""

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

SPECTRA = {"short": ("v339", 512), "middle": ("v120", 1024), "long": ("v238", 2048)}
"""Magnitude spectra: our name, the original's, and the transform's length in samples."""


def cut(original: onnx.ModelProto) -> onnx.ModelProto:
    """The graph from the spectra [n, frames, bins] on, to `pitch`, `confidence` [n, frames].

    Raises `ValueError` when the spectra are not where version 0.3.0 has them.
    """
    ours = {theirs: name for name, (theirs, _) in SPECTRA.items()}
    wanted = [output.name for output in original.graph.output]
    made_by = {name: node for node in original.graph.node for name in node.output}
    if not made_by.keys() >= ours.keys():
        raise ValueError(
            f"this is not swift-f0 0.3.0: it has no {sorted(ours.keys() - made_by.keys())}"
        )
    needed: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in needed:
            needed.add(name)
            wanted += made_by[name].input if name in made_by and name not in ours else []
    nodes = [
        node
        for node in original.graph.node
        if needed.intersection(node.output) and not set(ours).intersection(node.output)
    ]
    for node in nodes:
        node.input[:] = [ours.get(name, name) for name in node.input]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "frames", size // 2 + 1])
        for name, (_, size) in SPECTRA.items()
    ] + [value for value in original.graph.input if value.name in {"fmin", "fmax"}]
    outputs = [
        helper.make_tensor_value_info(o.name, o.type.tensor_type.elem_type, ["batch", "frames"])
        for o in original.graph.output
    ]
    constants = [tensor for tensor in original.graph.initializer if tensor.name in needed]
    model = helper.make_model(
        helper.make_graph(nodes, "swift-f0", inputs, outputs, constants),
        opset_imports=original.opset_import,
        ir_version=original.ir_version,
        producer_name="timbral",
        doc_string="SwiftF0 0.3.0 behind its spectra (MIT, (c) 2025-2026 Lars Nieradzik).",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="offline.train.swift", description=__doc__)
    parser.add_argument("wheel", type=Path, help="swift-f0's wheel")
    parser.add_argument("out", type=Path, help="the .onnx file to write")
    args = parser.parse_args(argv)
    with zipfile.ZipFile(args.wheel) as archive:
        original = onnx.load_model_from_string(archive.read("swift_f0/model.onnx"))
    onnx.save(cut(original), args.out)


if __name__ == "__main__":
    main()
