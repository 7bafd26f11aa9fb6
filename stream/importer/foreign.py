"""Voices that others have exported as ONNX: told by their inputs, and made to fit our engine.

Known are the graphs of w-okada's voice changer (`feats, p_len, pitch, pitchf, sid`), of its fork
by deiteris (`skip_head, return_length, formant_length` besides), of RVC's WebUI (`phone,
phone_lengths, pitch, pitchf, ds, rnd`) and of obs-rvc (`phone, pitch, pitchf`), with or without a
pitch, in single or half precision.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model

from stream.audio import Audio
from stream.errors import BadCheckpoint, HostileFile, ModelError
from stream.importer.graphs import foreign as graphs
from stream.importer.graphs.foreign import ROLES, Spot, dims, kind, real_inputs
from stream.importer.says import Says
from stream.importer.whole import LARGEST, load_model
from stream.models.blackbox import EDGE, inputs_of
from stream.models.onnx import Array, OnnxModel

SYNTH = "synth.onnx"
PROBED = (16, 32)  # frames of 10 ms on which a graph is tried
DIMS = (768, 256)  # content features a frame, of RVC v2 and v1
SAME = 1e-3  # of the loudest sample, by which a sound may differ and count as the same
LEAST_OPSET = 10
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
WHOLE = (TensorProto.INT64, TensorProto.INT32)
PASSING = {"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"}
OTHERS = {  # names of inputs or outputs that only another kind of model has
    **{"units9": "a content encoder", "unit12": "a content encoder", "embed": "a content encoder"},
    **{"waveform": "a pitch detector", "mel": "a pitch detector", "threshold": "a pitch detector"},
    **{"hubert": "a so-vits-svc voice", "mel2ph": "a so-vits-svc voice", "vol": "a DDSP voice"},
}
AGAIN = "Export it again, or add the voice's .pth, which timbral runs better."


@dataclass(frozen=True, kw_only=True)
class ForeignVoice:
    """A voice in somebody else's ONNX file, tried out.

    exporter      whose names its inputs have
    dim           content features a frame
    sample_rate   Hz
    f0            whether it takes a pitch
    speakers      rows of its speaker embedding, at least 1
    embedder      id of the content encoder that it says it needs; `None` if it does not say
    half          whether its features are in half precision
    noise         rows of normal numbers a frame that it needs
    spots         where it draws noise
    cuts          whether its decoder can begin later than its window
    """

    path: Path
    exporter: str
    dim: int
    sample_rate: int
    f0: bool
    speakers: int
    embedder: str | None
    half: bool
    noise: int
    spots: tuple[Spot, ...]
    cuts: bool


def recognise(path: Path) -> ForeignVoice:
    """What the ONNX file at `path` is, found by its names and by running it on two short inputs.

    Raises `BadCheckpoint` for what is no voice or cannot be run in a stream, and `HostileFile`
    for a graph that points to files elsewhere.
    """
    model = _read(path)
    inputs = _known_inputs(path, model)
    _check_lengths(path, inputs)
    said = _metadata(model)
    roles = {ROLES[name]: value for name, value in inputs.items()}
    dim, hop, spots = _try_out(path, model, dims(roles["features"])[2], said)
    rate = 100 * hop
    if not 8_000 <= rate <= 48_000:
        raise BadCheckpoint(path, f"{hop} samples a frame would be {rate} Hz, not 8 to 48 kHz.")
    return ForeignVoice(
        path=path,
        exporter=_exporter(inputs),
        dim=dim,
        sample_rate=rate,
        f0="pitch" in roles,
        speakers=_speakers(model.graph, roles.get("speaker")),
        embedder=_embedder(said, dim),
        half=kind(roles["features"]) == TensorProto.FLOAT16,
        noise=graphs.noise_rows(model.graph, spots),
        spots=tuple(spots),
        cuts=_cuts_well(model, dim, hop, spots),
    )


def write_bundle(voice: ForeignVoice, folder: Path) -> list[str]:
    """Write the graph behind our names into `folder`, as one file; the names of what was written.

    Law: the same call of the graph gives the same samples, and its noise follows the absolute
    frame, whatever the window.
    """
    cut = voice.sample_rate // 100 if voice.cuts else 0
    model = graphs.wrapped(_read(voice.path), voice.dim, voice.spots, cut)
    onnx.save(model, str(folder / SYNTH))
    return [SYNTH]


def about(voice: ForeignVoice) -> Mapping[str, Any]:
    """What a voice's card tells of its graph."""
    return {"latent": voice.noise, "late": 0}


def _read(path: Path) -> Any:
    """The model, its weights inside and its functions unfolded."""
    model: Any = load_model(path)
    if not model.graph.node or not model.graph.output:
        raise BadCheckpoint(path, "it is an empty ONNX model, or none at all. Get it again.")
    opset = max((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), default=0)
    if opset < LEAST_OPSET:
        raise BadCheckpoint(path, f"it is of ONNX operator set {opset}, too old. {AGAIN}")
    _take_in(path, model)
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _take_in(path: Path, model: Any) -> None:
    """Load the weights that lie in other files beside the model's; nowhere else."""
    outside = [tensor for tensor in _tensors(model.graph) if tensor.data_location == 1]
    size = 0
    for tensor in outside:
        place = ExternalDataInfo(tensor).location
        name = PurePosixPath(place.replace("\\", "/"))
        beside = path.parent / place
        if name.is_absolute() or ".." in name.parts or ":" in place or beside.is_symlink():
            raise HostileFile(path, f"it wants to read {place!r}, outside its own folder")
        if not beside.is_file():
            raise BadCheckpoint(path, f"its weights are in {place!r}, which is not beside it.")
        size = max(size, beside.stat().st_size)
    if size > LARGEST:
        raise BadCheckpoint(path, "its weights are too large for one file.")
    try:
        if outside:
            load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise BadCheckpoint(path, f"its weights cannot be read ({error}).") from error


def _tensors(graph: Any) -> Iterator[Any]:
    for inner in (graph, *graphs.subgraphs(graph)):
        yield from inner.initializer
        for node in inner.node:
            for attribute in node.attribute:
                yield attribute.t
                yield from attribute.tensors


def _known_inputs(path: Path, model: Any) -> dict[str, Any]:
    """The inputs, if they are those of an RVC voice."""
    inputs = real_inputs(model.graph)
    names = [*inputs, *(value.name for value in model.graph.output)]
    roles = [ROLES.get(name, "") for name in inputs]
    if not {"features", "pitch", "f0"} <= set(roles) and not {"features", "length"} <= set(roles):
        other = next((what for name, what in OTHERS.items() if name in names), "no RVC voice")
        shown = ", ".join(inputs) or "none"
        raise BadCheckpoint(path, f"it is {other}, by its inputs: {shown}.")
    unknown = [name for name in inputs if name not in ROLES]
    if unknown or len(set(roles) - {"rest"}) != len(roles) - roles.count("rest"):
        shown = ", ".join(unknown or inputs)
        raise BadCheckpoint(path, f"its inputs are not those of a known exporter: {shown}. {AGAIN}")
    ranks = {"features": 3, "pitch": 2, "f0": 2, "noise": 3}
    for name, value in inputs.items():
        role = ROLES[name]
        types = FLOATS if role in {"features", "f0", "noise"} else WHOLE
        rank = len(dims(value))
        if kind(value) not in types or rank != ranks.get(role, min(rank, 1)):
            raise BadCheckpoint(path, f"its input {name} is of another type or shape. {AGAIN}")
    drawing = graphs.stubborn_nodes(model.graph)
    if drawing:
        raise BadCheckpoint(path, f"it draws random numbers by {', '.join(drawing)}. {AGAIN}")
    return inputs


def _check_lengths(path: Path, inputs: Mapping[str, Any]) -> None:
    """Refuse an export for one length only: a stream has others."""
    time = {"features": 1, "pitch": 1, "f0": 1, "noise": 2}
    for name, value in inputs.items():
        at = time.get(ROLES[name])
        length = dims(value)[at] if at is not None else None
        if length is not None:
            raise BadCheckpoint(
                path,
                f"it was exported for exactly {length} frames (its input {name}), and live sound "
                "comes in other lengths. Export it again with dynamic axes, or add the voice's "
                ".pth, which timbral runs better.",
            )


def _metadata(model: Any) -> dict[str, Any]:
    """What w-okada's exporter says of the voice; nothing where there is no such note."""
    for entry in model.metadata_props:
        if entry.key == "metadata":
            try:
                said = json.loads(entry.value)
            except (ValueError, RecursionError):
                return {}
            return dict(said) if isinstance(said, dict) else {}
    return {}


def _exporter(inputs: Mapping[str, Any]) -> str:
    if "feats" in inputs:
        return "deiteris" if "skip_head" in inputs else "w-okada"
    return "RVC WebUI" if {"rnd", "ds"} & set(inputs) else "obs-rvc"


def _embedder(said: Mapping[str, Any], dim: int) -> str | None:
    if "embedder" not in said:
        return None
    renamed = {
        "embedder_name": said["embedder"],
        "embedder_output_layer": said.get("embOutputLayer"),
    }
    return Says(renamed).embedder(dim)


def _speakers(graph: Any, speaker: Any) -> int:
    """Rows of the table that the speaker's number looks up; 1 if there is no such table."""
    number = {speaker.name} if speaker is not None else set[str]()
    rows = {tensor.name: int(tensor.dims[0]) for tensor in graph.initializer if tensor.dims}
    for node in graph.node:
        if node.op_type == "Gather" and node.input[1] in number and node.input[0] in rows:
            return rows[node.input[0]]
        if node.op_type in PASSING and node.input[0] in number:
            number.add(node.output[0])
        if node.op_type in {"Cast", "Identity"} and node.input[0] in rows:
            rows[node.output[0]] = rows[node.input[0]]
    return 1


def _try_out(
    path: Path, model: Any, dim: int | None, said: Mapping[str, Any]
) -> tuple[int, int, list[Spot]]:
    """Run the graph: its features a frame, its samples a frame, and where it draws noise."""
    likely = said.get("embChannels")
    candidates = [dim] if dim else sorted(DIMS, key=lambda size: size != likely)
    refusal: ModelError | None = None
    with TemporaryDirectory(prefix="timbral-") as place:
        target = Path(place) / "probe.onnx"
        for size in candidates:
            onnx.save(graphs.wrapped(model, size, None), str(target))
            try:
                runs = _run(target, model, size)
            except ModelError as error:
                refusal = refusal or error
                continue
            return size, _hop(path, [run[0] for run in runs]), _spots(path, model, runs)
    raise BadCheckpoint(
        path,
        f"it does not run on {PROBED[0]} and on {PROBED[1]} frames; it may be made for one length "
        f"only. {AGAIN} ({refusal})",
    ) from refusal


Run = tuple[Audio, list[tuple[int, ...]]]  # the sound, and the shapes of the noise


def _run(target: Path, model: Any, dim: int) -> list[Run]:
    """What the graph gives for each of the `PROBED` lengths; raises `ModelError`."""
    rows = graphs.noise_rows(model.graph, ())
    shapes = [f"shape_{i}" for i in range(len(graphs.random_nodes(model.graph)))]
    outputs = {"audio": (None,), **{name: (None,) for name in shapes}}
    runner = OnnxModel(target, inputs_of(dim, rows), outputs, threads=2)
    runs: list[Run] = []
    for frames in PROBED:
        out = runner.probe(**_example(dim, rows, frames))
        sizes = [tuple(np.asarray(out[name], np.int64)[:-frames].tolist()) for name in shapes]
        runs.append((np.asarray(out["audio"], np.float32), sizes))
    return runs


def _example(dim: int, rows: int, frames: int, skip: int = 0) -> dict[str, Array]:
    """Seeded inputs of `frames` frames."""
    draw = np.random.default_rng(0)
    return {
        "features": 0.1 * draw.standard_normal((1, frames, dim), np.float32),
        "pitch": np.full((1, frames), 60, np.int64),
        "f0": np.full((1, frames), 220.0, np.float32),
        "speaker": np.zeros(1, np.int64),
        "skip": np.array([skip], np.int64),
        "noise": draw.standard_normal((1, rows, frames), np.float32),
    }


def _cuts_well(model: Any, dim: int, hop: int, spots: list[Spot]) -> bool:
    """Whether the sound is the same when the decoder begins later, but for its first frames."""
    if not graphs.cuttable(model.graph):
        return False
    frames = PROBED[-1]
    skip = (frames - EDGE) // 2
    rows = graphs.noise_rows(model.graph, spots)
    with TemporaryDirectory(prefix="timbral-") as place:
        target = Path(place) / "probe.onnx"
        onnx.save(graphs.wrapped(model, dim, spots, hop), str(target))
        try:
            names = inputs_of(dim, rows)
            runner = OnnxModel(target, names, {"audio": (None,)}, threads=2)
            whole, cut = (
                np.asarray(runner.probe(**_example(dim, rows, frames, s))["audio"], np.float32)
                for s in (0, skip)
            )
        except ModelError:
            return False
    if len(cut) != (frames - skip) * hop:
        return False
    off = np.abs(whole[(skip + EDGE) * hop :] - cut[EDGE * hop :])
    return bool(off.max() <= SAME * np.abs(whole).max())


def _hop(path: Path, sounds: list[Audio]) -> int:
    """Samples a frame of 10 ms."""
    per = {len(sound) / frames for sound, frames in zip(sounds, PROBED, strict=True)}
    if len(per) > 1 or not min(per).is_integer() or min(per) < 1:
        given = " and ".join(str(len(sound)) for sound in sounds)
        raise BadCheckpoint(
            path, f"it makes {given} samples of {PROBED[0]} and {PROBED[1]} frames. {AGAIN}"
        )
    if not all(np.isfinite(sound).all() for sound in sounds):
        raise BadCheckpoint(path, "what it says is no sound (NaN or infinite). Get it again.")
    return int(min(per))


def _spots(path: Path, model: Any, runs: list[Run]) -> list[Spot]:
    """Where and in what shape the graph draws noise."""
    short, long = (shapes for _, shapes in runs)
    found = graphs.fixed_spots(model.graph)
    for node, a, b in zip(graphs.random_nodes(model.graph), short, long, strict=True):
        moving = [i for i, sizes in enumerate(zip(a, b, strict=True)) if sizes[0] != sizes[1]]
        if not moving:
            found.append(Spot(node, a))
            continue
        axis = moving[0]
        ratio = a[axis] // PROBED[0]
        fits = a[axis] == ratio * PROBED[0] and b[axis] == ratio * PROBED[1]
        if len(moving) > 1 or not fits or ratio < 1:
            raise BadCheckpoint(
                path, f"it draws noise of a shape that does not follow the frames: {a}. {AGAIN}"
            )
        found.append(Spot(node, a[:axis] + a[axis + 1 :], axis, ratio))
    return found
