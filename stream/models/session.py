"""Opens sessions of ONNX Runtime, on the device that was asked for and on no other."""

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime as ort

from stream.device import Device, Kind
from stream.errors import DeviceUnavailable, ModelMismatch
from stream.home import default_home
from stream.models import providers
from stream.models.digest import sha256
from stream.models.providers import PROVIDERS, Declared, Span, Wish


def open_session(
    path: Path,
    device: Device,
    threads: int = 1,
    *,
    heavy: bool = False,
    spans: Mapping[str, Span] | None = None,
    graph: bytes | None = None,
    capture: bool = False,
) -> Any:
    """A session of the graph in `path`, or of `graph`, which was made from that.

    heavy    a model of full size; see `Wish`
    spans    how long its dimensions can be, by their names in the graph
    capture  have calls captured as CUDA graphs where the device and the graph can

    Raises `ModelMismatch` for what is no graph, and `DeviceUnavailable` when the device does not
    run it: ONNX Runtime itself would go on on the processor and only log it.
    """
    available: list[str] = ort.get_available_providers()
    wish = Wish(threads, heavy, has_bf16(), capture)
    if device.kind == "tensorrt":
        cache = default_home() / "engines" / sha256(path)[:32]
        wish = replace(wish, inputs=_declared(path, graph), spans=spans or {}, cache=cache)
    why = ""
    for kind in providers.order(device, wish):
        if PROVIDERS[kind].name not in available:
            continue
        try:
            session = _session(path, graph, kind, device.index, wish)
        except Exception as error:  # ONNX Runtime raises a class of its own for every cause
            if kind == "cpu" or not _runs_on_cpu(path, graph):
                raise ModelMismatch(path, f"ONNX Runtime cannot load it ({error})") from error
            why = str(error)
            continue
        if PROVIDERS[kind].name in session.get_providers():
            return session
    named = PROVIDERS["cpu" if device.kind == "auto" else device.kind]
    missing = f"To get it: {named.how}" if named.name not in available else "Look at its driver"
    raise DeviceUnavailable(str(device), providers.offered(available), missing, why)


def _session(path: Path, graph: bytes | None, kind: Kind, index: int, wish: Wish) -> Any:
    if kind == "tensorrt":
        wish.cache.mkdir(parents=True, exist_ok=True)
    if kind in ("cuda", "tensorrt"):
        _find_libraries()
    session = ort.InferenceSession(
        path if graph is None else graph,
        _options(wish.threads, patterns=kind != "directml"),
        providers=[(name, dict(own)) for name, own in providers.provided(kind, index, wish)],
        enable_fallback=0,  # it would print, and go on on the processor
    )
    session.disable_fallback()  # nor at a later call, which older ones would do even so
    return session


def _find_libraries() -> None:
    """Have CUDA and cuDNN loaded from where pip puts them; what is not there is found later."""
    preload = getattr(ort, "preload_dlls", None)
    if preload is not None:
        with redirect_stdout(io.StringIO()):  # what it cannot load, it prints
            preload(directory="")


def _runs_on_cpu(path: Path, graph: bytes | None) -> bool:
    """Whether it is the device's fault that a session cannot be opened, and not the graph's."""
    try:
        _session(path, graph, "cpu", 0, Wish())
    except Exception:
        return False
    return True


def _declared(path: Path, graph: bytes | None = None) -> dict[str, Declared]:
    """The inputs of a graph, by name, each with its shape."""
    try:
        session = plain_session(path, graph)
    except Exception as error:
        raise ModelMismatch(path, f"ONNX Runtime cannot load it ({error})") from error
    return {value.name: tuple(value.shape) for value in session.get_inputs()}


def plain_session(path: Path, graph: bytes | None = None) -> Any:
    """A session that was not made faster, on the processor: to look at what the graph declares."""
    options = _options(1)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = path if graph is None else graph
    return ort.InferenceSession(source, options, providers=[PROVIDERS["cpu"].name])


def runtime_version() -> str:
    """ONNX Runtime's version."""
    return str(ort.__version__)


def available_devices() -> list[Kind]:
    """The kinds of devices that this installation of ONNX Runtime was built for."""
    return providers.offered(ort.get_available_providers())


def reason(device: Device, provider: str) -> str:
    """Why what was to run on `device` runs on ONNX Runtime's `provider`, in words."""
    return providers.reason(device, provider, ort.get_available_providers())


def has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor multiplies bf16 matrices itself; elsewhere than on Linux, False."""
    if not cpuinfo.is_file():
        return False
    flags = next((li for li in cpuinfo.read_text().splitlines() if li.startswith("flags")), "")
    return bool({"amx_bf16", "avx512_bf16"} & set(flags.split()))


def _options(threads: int, *, patterns: bool = True) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL  # DirectML knows no other
    options.enable_mem_pattern = patterns  # nor this
    options.log_severity_level = 4  # what matters is checked here and raised
    # spinning threads would hold the cores that the other streams need
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # numbers near zero, as in fading sound, take a slow path in the CPU unless flushed
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options
