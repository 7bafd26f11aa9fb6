"""The one place that knows ONNX Runtime."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnxruntime as ort

from stream.errors import DeviceUnavailable, ModelMismatch, ModelNotFound
from stream.models.chorus import Answer, Array, Call, State, current_part

Shape = tuple[int | None, ...]
Device = Literal["auto", "cpu", "cuda", "directml", "coreml", "openvino"]
DEVICES: tuple[Device, ...] = get_args(Device)

CPU = "CPUExecutionProvider"
PROVIDERS: Mapping[str, str] = {
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": CPU,
}
AUTO = ("cuda", "directml", "cpu")  # the order in which `auto` tries; others only when asked for
AUTO_HEAVY = ("cuda", "directml", "openvino", "cpu")  # OpenVINO pays for models of full size only

STATE, NEXT = "state_", "next_"
BATCH = "batch"  # the name of a first axis along which the calls of several streams can lie

EXACT_FRAMES = 10
"""Frames that a call may have for its result not to depend on their number: ONNX Runtime multiplies
8-bit matrices of more rows in another way, half a percent apart."""


class OnnxModel:
    """A loaded ONNX graph: named arrays in, named arrays out.

    A graph may carry memory from call to call: each of its inputs `state_X` has an output `next_X`
    of the same fixed shape, and zeros are the start. The memory belongs to the caller, who passes
    it in and gets the next one back. The model holds none, so one serves every stream and thread.

    Where the first axis of all that goes in and out is called "batch" (numbers apart, which are the
    same for all), the calls of several streams may be one. Law of `together`: each gets what `step`
    alone would have given, bit for bit where the kernels keep rows apart, else to 1e-5.

    inputs, outputs   the names that must be there, each with its shape; `None` fits any length
    heavy             a model of full size, for which `auto` takes OpenVINO where it is installed,
                      in bf16 where the processor computes with it

    Raises `ModelNotFound`, `ModelMismatch` when names, shapes or states are others, and
    `DeviceUnavailable` when a device was asked for by name and does not run the graph (ONNX
    Runtime itself would go on on the CPU and only log it). `provider` names what does run it.
    """

    def __init__(
        self,
        path: Path,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        *,
        device: Device = "cpu",
        threads: int = 1,
        heavy: bool = False,
    ) -> None:
        if not path.is_file():
            raise ModelNotFound(path, "Install timbral again, or add the voice again.")
        self._path = path
        self.name = path.stem
        self._ort = _session(path, device, threads, heavy)
        self.provider: str = self._ort.get_providers()[0]
        found_in = {i.name: i for i in self._ort.get_inputs()}
        found_out = {o.name: o for o in self._ort.get_outputs()}
        self._state_names = sorted(name for name in found_in if name.startswith(STATE))
        self._check("input", inputs, {n: i for n, i in found_in.items() if n[:6] != STATE})
        self._check("output", outputs, {n: o for n, o in found_out.items() if n[:5] != NEXT})
        self._outputs = list(outputs)
        self._next_names = [NEXT + name[len(STATE) :] for name in self._state_names]
        values = [*found_in.values(), *found_out.values()]
        self.stacks = all(value.shape[:1] in ([], [BATCH]) for value in values)
        self._initial = tuple(self._zeros(found_in[name]) for name in self._state_names)
        for name, zeros in zip(self._next_names, self._initial, strict=True):
            if name not in found_out or _fixed(found_out[name].shape) != zeros.shape:
                raise ModelMismatch(path, f"state output {name} of shape {zeros.shape} is missing")

    def initial_state(self) -> State:
        """The memory before the first call: zeros."""
        return self._initial

    def step(self, state: State, **inputs: Array) -> Answer:
        """One call; returns the outputs by name and the memory for the next call.

        In a `Chorus` it waits for those of other streams, to be one with them.
        """
        if self.stacks and (part := current_part()) is not None:
            return part.ask(self, (state, inputs))
        return self._step(state, inputs)

    def _step(self, state: State, inputs: Mapping[str, Array]) -> Answer:
        feed: dict[str, Array] = dict(zip(self._state_names, state, strict=True))
        feed.update(inputs)
        results: list[Array] = self._ort.run([*self._outputs, *self._next_names], feed)
        n = len(self._outputs)
        return dict(zip(self._outputs, results[:n], strict=True)), tuple(results[n:])

    def together(self, calls: Sequence[Call]) -> list[Answer]:
        """What `step` gives for each of `calls`, whose inputs have the same shapes, in one run."""
        if len(calls) == 1:
            return [self._step(*calls[0])]
        states = zip(*(state for state, _ in calls), strict=True)
        feed = dict(zip(self._state_names, map(np.concatenate, states), strict=True))
        for name, value in calls[0][1].items():
            rows = [inputs[name] for _, inputs in calls]
            feed[name] = np.concatenate(rows) if value.ndim else value
        results: list[Array] = self._ort.run([*self._outputs, *self._next_names], feed)
        n, size = len(self._outputs), len(results[0]) // len(calls)
        parts = [[r[size * i : size * (i + 1)] for r in results] for i in range(len(calls))]
        return [
            (dict(zip(self._outputs, part[:n], strict=True)), tuple(part[n:])) for part in parts
        ]

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """One call of a graph without memory."""
        return self.step((), **inputs)[0]

    def probe(self, **inputs: Array) -> dict[str, Array]:
        """One call of a graph that nobody has run yet; raises `ModelMismatch` where it fails."""
        try:
            return self(**inputs)
        except Exception as error:  # ONNX Runtime raises a class of its own for every cause
            raise ModelMismatch(self._path, f"ONNX Runtime cannot run it ({error})") from error

    def _check(self, kind: str, expected: Mapping[str, Shape], found: Mapping[str, Any]) -> None:
        if set(found) != set(expected):
            why = f"expected {kind}s {sorted(expected)}, found {sorted(found)}"
            raise ModelMismatch(self._path, why)
        for name, shape in expected.items():
            declared = tuple(found[name].shape)
            fits = len(declared) == len(shape) and all(
                want is None or not isinstance(have, int) or have == want
                for want, have in zip(shape, declared, strict=True)
            )
            fixed = any(
                want is None and isinstance(have, int)
                for want, have in zip(shape, declared, strict=False)
            )
            if not fits or fixed:
                raise ModelMismatch(self._path, f"{kind} {name} is {declared}, expected {shape}")

    def _zeros(self, value: Any) -> Array:
        shape = _fixed(value.shape)
        if not all(isinstance(size, int) for size in shape):
            raise ModelMismatch(self._path, f"{value.name} has no fixed shape: {shape}")
        dtype = {"tensor(float)": np.float32, "tensor(int64)": np.int64}.get(value.type)
        if dtype is None:
            raise ModelMismatch(self._path, f"{value.name} is {value.type}, not float or int64")
        zeros = np.zeros(shape, dtype)
        zeros.flags.writeable = False
        return zeros


def _fixed(shape: Sequence[Any]) -> tuple[Any, ...]:
    """The shape for one stream."""
    return tuple(1 if i == 0 and size == BATCH else size for i, size in enumerate(shape))


def runtime_version() -> str:
    """ONNX Runtime's version."""
    return str(ort.__version__)


def available_devices() -> list[Device]:
    """The devices that this installation of ONNX Runtime was built for."""
    providers = ort.get_available_providers()
    return [device for device in DEVICES if PROVIDERS.get(device) in providers]


def _session(path: Path, device: Device, threads: int, heavy: bool) -> Any:
    automatic = AUTO_HEAVY if heavy else AUTO
    names = automatic if device == "auto" else (device,)
    for name in names:
        if PROVIDERS[name] not in ort.get_available_providers():
            continue
        providers: list[Any] = [PROVIDERS[name]] if name == "cpu" else [PROVIDERS[name], CPU]
        if name == "openvino":
            providers[0] = (PROVIDERS[name], openvino_options(threads, heavy and has_bf16()))
        try:
            session = ort.InferenceSession(path, _options(threads), providers=providers)
        except Exception as error:  # ONNX Runtime raises a class of its own for every cause
            raise ModelMismatch(path, f"ONNX Runtime cannot load it ({error})") from error
        if PROVIDERS[name] in session.get_providers():
            return session
    raise DeviceUnavailable(device, available_devices())


def openvino_options(threads: int, half: bool) -> dict[str, str]:
    """Options of OpenVINO's provider; `half` computes in bf16, with 8 bits of mantissa.

    The settings go in as JSON text: a path to a file is not read, only logged, and the option
    `precision` refuses bf16.
    """
    settings = {"INFERENCE_NUM_THREADS": str(threads)}
    if half:
        settings["INFERENCE_PRECISION_HINT"] = "bf16"
    return {"device_type": "CPU", "load_config": json.dumps({"CPU": settings})}


def has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor multiplies bf16 matrices itself; elsewhere than on Linux, False."""
    if not cpuinfo.is_file():
        return False
    flags = next((li for li in cpuinfo.read_text().splitlines() if li.startswith("flags")), "")
    return bool({"amx_bf16", "avx512_bf16"} & set(flags.split()))


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # what matters is checked here and raised
    # spinning threads would hold the cores that the other streams need
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # numbers near zero, as in fading sound, take a slow path in the CPU unless flushed
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options
