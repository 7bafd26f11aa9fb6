"""Find the RVC voice in a file of weights, by what is in it and not by its name."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream.errors import BadCheckpoint
from stream.importer.checkpoint import RvcCheckpoint, RvcShape
from stream.importer.kinds import vocoder, what
from stream.importer.layout import layout
from stream.importer.says import Says
from stream.importer.tensors import TensorFile

State = dict[str, NDArray[Any]]

SIGN: Final = "enc_p.emb_phone.weight"  # what every RVC voice has and no other model
STAGES: Final = (  # (kernels, rates) of the published decoders
    ((24, 20, 4, 4), (12, 10, 2, 2)),
    ((16, 16, 4, 4), (10, 10, 2, 2)),
    ((20, 16, 4, 4), (10, 8, 2, 2)),
    ((16, 16, 4, 4, 4), (10, 6, 2, 2, 2)),
    ((16, 16, 4, 4, 4), (10, 4, 2, 2, 2)),
)
UNUSED = ("enc_q.",)  # the posterior encoder: only training needs it


def recognise(file: TensorFile) -> RvcCheckpoint:
    """The voice in the file, every tensor checked against the sizes that the others imply.

    Law: names, order, number type, weight norm's spelling and missing or wrong settings do not
    matter; the same weights give the same checkpoint. Raises `BadCheckpoint`, which says what the
    file is when it is no RVC voice, and which tensor is wrong when it is a broken one.
    """
    extra: Mapping[Any, Any] = file.extra if isinstance(file.extra, dict) else {}
    state = _state(file)
    if state is None:
        raise BadCheckpoint(file.path, f"{what(file.tensors, extra)}.")
    foreign = vocoder(state, extra)
    if foreign is not None:
        raise BadCheckpoint(
            file.path,
            f"its decoder is {foreign}. Only RVC's own, NSF-HiFi-GAN, is supported: "
            "train or export the voice with that one.",
        )
    says = Says(extra)
    try:
        folded = dict(_fold(state))
        shape = _shape(folded, says)
        weights = _checked(folded, shape)
    except ValueError as error:
        raise BadCheckpoint(file.path, f"{error}.") from error
    return RvcCheckpoint(
        shape=shape,
        weights=weights,
        speakers=says.speakers(shape.speakers),
        embedder=says.embedder(shape.dim),
        f0_median_hz=says.f0_median_hz,
        about=says.about,
    )


def _state(file: TensorFile) -> State | None:
    for prefix in ("weight.", "", "state_dict.", "weights."):
        if f"{prefix}{SIGN}" in file.tensors:
            return {
                name[len(prefix) :]: value
                for name, value in file.tensors.items()
                if name.startswith(prefix) and not name[len(prefix) :].startswith(UNUSED)
            }
    return None


def _fold(state: State) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every weight in float32; weight norm, w = g v / |v| over all but the first axis, done."""
    for name, value in state.items():
        _check_numbers(name, value)
        stem, end = _norm_part(name)
        if end == "g" and _partner(state, stem) is None:
            raise ValueError(f"{stem} has half a weight norm: its direction is missing")
        if end != "v":
            if end is None:
                yield name, np.asarray(value, np.float32)
            continue
        gain = state.get(f"{stem}_g", state.get(_new_name(stem, 0)))
        if gain is None:
            raise ValueError(f"{stem} has half a weight norm: its length is missing")
        if value.ndim < 2 or gain.shape != (value.shape[0],) + (1,) * (value.ndim - 1):
            raise ValueError(f"{stem} has a weight norm of the wrong shape {gain.shape}")
        axes = tuple(range(1, value.ndim))
        length = np.sqrt(np.sum(np.square(value, dtype=np.float64), axis=axes, keepdims=True))
        if not np.all(length > 0.0):
            raise ValueError(f"{stem} has a weight norm without direction: all zeros")
        yield stem, (value * (gain / length)).astype(np.float32)


def _norm_part(name: str) -> tuple[str, str | None]:
    """(name without weight norm, "g", "v" or None)."""
    if name.endswith(("weight_g", "weight_v")):
        return name[:-2], name[-1]
    head, found, last = name.rpartition(".parametrizations.weight.original")
    if found and last in ("0", "1"):
        return f"{head}.weight", "gv"[int(last)]
    return name, None


def _partner(state: State, stem: str) -> NDArray[Any] | None:
    return state.get(f"{stem}_v", state.get(_new_name(stem, 1)))


def _new_name(stem: str, part: int) -> str:
    return f"{stem[: -len('.weight')]}.parametrizations.weight.original{part}"


def _check_numbers(name: str, value: NDArray[Any]) -> None:
    if value.dtype.kind != "f":
        raise ValueError(f"{name} holds {value.dtype} numbers where weights belong")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} holds NaN or infinity: its training or its copying went wrong")


def _shape(state: State, says: Says) -> RvcShape:
    phone, proj = _of(state, SIGN, 2), _of(state, "enc_p.proj.weight", 3)
    wide = _of(state, "enc_p.encoder.ffn_layers.0.conv_1.weight", 3)
    near = _of(state, "enc_p.encoder.attn_layers.0.emb_rel_k", 3)
    speakers = _of(state, "emb_g.weight", 2)
    hidden, dim = phone
    if dim not in (256, 768):
        raise ValueError(f"it takes {dim} content features a frame; RVC v1 takes 256, v2 768")
    f0 = "dec.m_source.l_linear.weight" in state
    kernels = tuple(
        _of(state, f"dec.ups.{i}.weight", 3)[2] for i in range(_count(state, "dec.ups"))
    )
    blocks = _count(state, "dec.resblocks") // max(len(kernels), 1)
    sizes = [_of(state, f"dec.resblocks.{i}.convs1.0.weight", 3)[2] for i in range(blocks)]
    rates = _rates(state, kernels, says, f0)
    return RvcShape(
        version="v1" if dim == 256 else "v2",
        sample_rate=100 * math.prod(rates),
        dim=dim,
        upsample_rates=rates,
        upsample_kernels=kernels,
        speakers=speakers[0],
        f0=f0,
        inter=proj[0] // 2,
        hidden=hidden,
        filter=wide[0],
        heads=max(hidden // max(near[2], 1), 1),
        layers=_count(state, "enc_p.encoder.attn_layers"),
        kernel=wide[2],
        upsample_initial=_of(state, "dec.conv_pre.weight", 3)[0],
        resblock_kernels=tuple(sizes),
        resblock_dilations=says.dilations(len(sizes)),
        gin=speakers[1],
    )


def _of(state: State, name: str, dims: int) -> tuple[int, ...]:
    if name not in state:
        raise ValueError(f"{name} is missing")
    if state[name].ndim != dims or 0 in state[name].shape:
        raise ValueError(f"{name} has the shape {state[name].shape}, of {dims} sizes none may be 0")
    return state[name].shape


def _count(state: State, of: str) -> int:
    """How many numbered parts there are under a name."""
    numbers = {name[len(of) + 1 :].split(".", 1)[0] for name in state if name.startswith(f"{of}.")}
    count = 0
    while str(count) in numbers:
        count += 1
    return count


def _rates(state: State, kernels: tuple[int, ...], says: Says, f0: bool) -> tuple[int, ...]:
    """How many samples each stage of the decoder makes of one.

    What the settings say, if it can be true; else one of the published decoders. The excitation's
    layers, whose kernels are twice the product of the rates after them, tell those apart.
    """
    said = says.rates(len(kernels))
    known = [rates for sizes, rates in STAGES if sizes == kernels]
    fits = [rates for rates in ([said] if said else known) if not f0 or _agrees(state, rates)]
    if len(fits) > 1 and says.sample_rate:
        fits = [rates for rates in fits if 100 * math.prod(rates) == says.sample_rate] or fits
    if len(fits) > 1:
        raise ValueError("nothing in it tells 32 kHz from 48 kHz. Import the original .pth")
    if not fits:
        raise ValueError(
            f"its decoder's stages (kernels {kernels}, rates {said or 'unknown'}) are no RVC's"
        )
    rate = 100 * math.prod(fits[0])
    if not 8_000 <= rate <= 48_000:
        raise ValueError(f"it speaks at {rate} Hz; 8000 to 48000 are supported")
    if says.configured_rate not in (None, rate):
        raise ValueError(
            f"its settings say {says.configured_rate} Hz, but its decoder makes {rate} Hz"
        )
    return fits[0]


def _agrees(state: State, rates: tuple[int, ...]) -> bool:
    for i in range(len(rates)):
        step = math.prod(rates[i + 1 :])
        kernel = 2 * step if i + 1 < len(rates) else 1
        layer = state.get(f"dec.noise_convs.{i}.weight")
        if layer is None or layer.ndim != 3 or layer.shape[2] != kernel:
            return False
    return True


def _checked(state: State, shape: RvcShape) -> dict[str, NDArray[np.float32]]:
    """The tensors in the layout's order; all there, none too many, each of its shape."""
    expected = layout(shape)
    if not shape.f0:
        state.pop("enc_p.emb_pitch.weight", None)
    for name, sizes in expected.items():
        if name not in state:
            raise ValueError(f"{name} is missing")
        if state[name].shape != sizes:
            raise ValueError(f"{name} has the shape {state[name].shape}, not {sizes}")
    for name in state:
        if name not in expected and name.startswith(("enc_p.", "dec.", "flow.", "emb_g.")):
            raise ValueError(f"it has {name[:80]}, which RVC's network has not")
    return {name: np.ascontiguousarray(state[name], np.float32) for name in expected}
