"""The table of what ONNX Runtime can compute on: names, options, and how to get each.

Knows no ONNX Runtime itself: what that offers is told to it.

Precision. Pitch and excitation stay in full precision everywhere: pitch detectors are never
`heavy`, and only a heavy model is computed in less than float32 (TF32 on CUDA, fp16 on TensorRT,
bf16 on OpenVINO, the neural engine with CoreML); the phase of the excitation is summed up in
float64 by numpy (`stream.excitation`) and no graph contains it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from stream.device import Device, Kind

Options = Mapping[str, str]
Declared = tuple[int | str, ...]  # a shape as a graph declares it: numbers, and names of lengths

BATCHES = (1, 2, 4, 8, 16, 32)
"""The sizes of batches on a GPU."""


class Span(NamedTuple):
    """The least, the usual and the greatest length that a dimension has in calls."""

    least: int
    usual: int
    most: int

    def times(self, factor: int) -> "Span":
        """The same of something that is so many times as long."""
        return Span(*(factor * length for length in self))


BATCH_SPAN = Span(BATCHES[0], BATCHES[-3], BATCHES[-1])
ROWS = "rows"
"""How graphs call the length of the tables where states lie on a device."""
ROW_SPAN = Span(2, 128, 1 << 16)


@dataclass(frozen=True)
class Wish:
    """What a model wants of its provider.

    heavy   a model of full size: may be computed in less than full precision
    inputs  the shapes that the graph declares, by name
    spans   how long what is no number in them can be; a length that is missing can be any
    cache   a folder of this very model, for what is compiled once
    """

    threads: int = 1
    heavy: bool = False
    bf16: bool = False  # whether this processor computes with it
    capture: bool = False  # whether calls may be captured as CUDA graphs
    inputs: Mapping[str, Declared] = field(default_factory=dict[str, Declared])
    spans: Mapping[str, Span] = field(default_factory=dict[str, Span])
    cache: Path = Path()


def _none(_index: int, _wish: Wish) -> Options:
    return {}


def _cuda(index: int, wish: Wish) -> Options:
    return {
        "device_id": str(index),
        # 10 bits of mantissa instead of 23, in matrix products and convolutions
        "use_tf32": str(int(wish.heavy)),
        # the default tries all algorithms for every new shape: seconds, while people listen
        "cudnn_conv_algo_search": "HEURISTIC",
        # several models share the memory: none takes twice what it needs
        "arena_extend_strategy": "kSameAsRequested",
        # a copy on a stream of its own would race with the kernels that use what it brings
        "do_copy_in_default_stream": "1",
        "enable_cuda_graph": str(int(wish.capture)),
    }


def _tensorrt(index: int, wish: Wish) -> Options:
    shapes = profile_shapes(wish.inputs, wish.spans)
    assert shapes is not None  # `takes` was asked
    folder = str(wish.cache)
    return {
        "device_id": str(index),
        "trt_fp16_enable": str(int(wish.heavy)),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
        # where state is scattered in place, which TensorRT does not know how to do
        "trt_op_types_to_exclude": "NonMaxSuppression,NonZero,RoiAlign,ScatterND",
        **dict(zip(PROFILES, shapes, strict=True)),
    }


def _directml(index: int, _wish: Wish) -> Options:
    return {"device_id": str(index)}


def _coreml(_index: int, wish: Wish) -> Options:
    # the neural engine computes in fp16 only
    units = "ALL" if wish.heavy else "CPUAndGPU"
    return {
        "ModelFormat": "MLProgram",
        "MLComputeUnits": units,
        "AllowLowPrecisionAccumulationOnGPU": "0",
    }


def _openvino(_index: int, wish: Wish) -> Options:
    """`load_config` takes the settings as JSON text: a path to a file is not read, only logged, and
    the option `precision` refuses bf16.
    """
    settings = {"INFERENCE_NUM_THREADS": str(wish.threads)}
    if wish.heavy and wish.bf16:
        settings["INFERENCE_PRECISION_HINT"] = "bf16"
    return {"device_type": "CPU", "load_config": json.dumps({"CPU": settings})}


@dataclass(frozen=True)
class Provider:
    """One row of the table.

    name     ONNX Runtime's
    told     what people call it
    how      what to do where it is missing
    options  for the device's number and a model
    gpu      does one thing after another, best in large batches
    tables   ONNX Runtime's name of its memory, where the state of streams stays in tables; ""
             where callers keep it
    """

    name: str
    told: str
    how: str
    options: Callable[[int, Wish], Options] = _none
    gpu: bool = False
    tables: str = ""


def _instead(package: str) -> str:
    return f"pip uninstall -y onnxruntime && pip install {package}"


CUDA_PACKAGE = _instead("'timbral[gpu]'")
PROVIDERS: Mapping[Kind, Provider] = MappingProxyType(
    {
        "cpu": Provider("CPUExecutionProvider", "the processor", "pip install 'timbral[cpu]'"),
        "cuda": Provider(
            "CUDAExecutionProvider",
            "CUDA",
            f"{CUDA_PACKAGE}; it needs an NVIDIA driver",
            _cuda,
            gpu=True,
            tables="cuda",
        ),
        "tensorrt": Provider(
            "TensorrtExecutionProvider",
            "TensorRT",
            f"{CUDA_PACKAGE} && pip install tensorrt; it needs an NVIDIA driver",
            _tensorrt,
            gpu=True,
            tables="cuda",
        ),
        "directml": Provider(
            "DmlExecutionProvider",
            "DirectML",
            f"{_instead('onnxruntime-directml')}, on Windows",
            _directml,
            gpu=True,
        ),
        "coreml": Provider(
            "CoreMLExecutionProvider",
            "CoreML",
            "it is in the onnxruntime of macOS",
            _coreml,
            gpu=True,
        ),
        "openvino": Provider(
            "OpenVINOExecutionProvider", "OpenVINO", _instead("onnxruntime-openvino"), _openvino
        ),
    }
)
AUTO_ORDER: tuple[Kind, ...] = ("cuda", "directml", "cpu")
"""In which `auto` tries; the others only when asked for: TensorRT compiles for minutes first."""
AUTO_HEAVY: tuple[Kind, ...] = ("cuda", "directml", "openvino", "cpu")
"""The same for models of full size: OpenVINO pays for those only."""

PROFILES = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")


def order(device: Device, wish: Wish) -> tuple[Kind, ...]:
    """What is to be tried, one after the other, until one works.

    `tensorrt` means CUDA for a graph with a length that nobody has limited: TensorRT would compile
    it again, for minutes, whenever a new length comes.
    """
    if device.kind == "auto":
        return AUTO_HEAVY if wish.heavy else AUTO_ORDER
    if device.kind == "tensorrt" and profile_shapes(wish.inputs, wish.spans) is None:
        return ("cuda",)
    return (device.kind,)


def provided(kind: Kind, index: int, wish: Wish) -> list[tuple[str, Options]]:
    """ONNX Runtime's providers for a device, the first one first: what it cannot do, the next does.

    TensorRT leaves to CUDA what it does not take, and all leave the rest to the processor.
    """
    kinds: dict[Kind, None] = {kind: None}
    if kind == "tensorrt":
        kinds["cuda"] = None
    kinds["cpu"] = None
    return [(PROVIDERS[each].name, PROVIDERS[each].options(index, wish)) for each in kinds]


def profile_shapes(
    inputs: Mapping[str, Declared], spans: Mapping[str, Span]
) -> tuple[str, str, str] | None:
    """The least, usual and greatest shapes of a graph's inputs as TensorRT wants them told.

    None where the graph has a length that `spans` does not limit.

    >>> profile_shapes({"x": ("batch", 80)}, {"batch": Span(1, 8, 32)})
    ('x:1x80', 'x:8x80', 'x:32x80')
    """
    lengths = [size for shape in inputs.values() for size in shape if isinstance(size, str)]
    if not inputs or not all(size in spans for size in lengths):
        return None

    def told(which: int) -> str:
        shapes = {
            name: "x".join(str(spans[s][which] if isinstance(s, str) else s) for s in shape)
            for name, shape in inputs.items()
            if shape
        }
        return ",".join(f"{name}:{shape}" for name, shape in shapes.items())

    return told(0), told(1), told(2)


def offered(available: Sequence[str]) -> list[Kind]:
    """The kinds that an ONNX Runtime with these providers was built for."""
    return [kind for kind, provider in PROVIDERS.items() if provider.name in available]


def kind_of(provider: str) -> Kind | None:
    """The kind that ONNX Runtime calls `provider`."""
    return next((kind for kind, row in PROVIDERS.items() if row.name == provider), None)


def on_gpu(provider: str) -> bool:
    """Whether ONNX Runtime's `provider` is a GPU's."""
    kind = kind_of(provider)
    return kind is not None and PROVIDERS[kind].gpu


def reason(device: Device, provider: str, available: Sequence[str]) -> str:
    """Why a model that was to run on `device` runs on ONNX Runtime's `provider`, in words."""
    kind = kind_of(provider)
    told = PROVIDERS[kind].told if kind else provider
    if device.kind != "auto":
        return "asked for" if kind == device.kind else f"{told} does what {device} cannot"
    better = [PROVIDERS[k] for k in AUTO_ORDER if PROVIDERS[k].gpu]
    there = [row.told for row in better if row.name in available]
    failed = there if kind in ("cpu", "openvino") else []
    if failed:
        return f"auto: {' and '.join(failed)} is in this ONNX Runtime, but does not work here"
    names = ", ".join(PROVIDERS[k].told for k in AUTO_ORDER)
    if kind == "openvino":
        return "auto: OpenVINO is here, and pays for models of full size"
    return f"auto: {told} is the first of {names} that this ONNX Runtime has"
