"""Small voices with the exact inputs and outputs of others' ONNX exports, for tests.

Inside, each is RVC in small: features and coarse pitch give a latent that looks a few frames
around, noise is added, the latent is turned into sound, and an oscillator that starts at phase 0
wherever the window begins sings the pitch. So windows that begin elsewhere differ in phase.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

from stream.noise import frame_noise

Exporter = Literal["w-okada", "deiteris", "RVC WebUI", "obs-rvc"]
LATENT = 12


@dataclass(frozen=True)
class Stranger:
    """A voice to export.

    sung, spoken, drawn   how loud its oscillator, its latent and its own noise are
    length                frames that it is exported for; 0: any
    named                 whether its decoder's first tensors have RVC's names
    reach                 frames of past that such a decoder hears
    """

    exporter: Exporter = "w-okada"
    f0: bool = True
    dim: int = 768
    hop: int = 160
    speakers: int = 3
    half: bool = False
    length: int = 0
    sung: float = 0.3
    spoken: float = 0.3
    drawn: float = 0.003
    uniform: bool = False
    opset: int = 17
    named: bool = False
    reach: int = 11
    metadata: dict[str, Any] | None = None
    seed: int = 0

    @property
    def inputs(self) -> str:
        """Its inputs in ONNX's text form."""
        real = "float16" if self.half else "float"
        t = str(self.length or "T")
        pitch = f", int64[1,{t}] pitch, {real}[1,{t}] pitchf" if self.f0 else ""
        if self.exporter == "obs-rvc":
            return f"{real}[1,{t},{self.dim}] phone{pitch}"
        if self.exporter == "RVC WebUI":
            noise = f"float[1,{LATENT},{t}] rnd"
            names = f"{real}[1,{t},{self.dim}] phone, int64[1] phone_lengths"
            return f"{names}{pitch}, int64[1] ds, {noise}"
        skips = ", int64 skip_head, int64 return_length, int64 formant_length"
        names = f"{real}[1,{t},{self.dim}] feats, int64[1] p_len{pitch}, int64[1] sid"
        return names + (skips if self.exporter == "deiteris" else "")

    def nodes(self) -> str:
        """Its operators."""
        phone = "feats" if "feats" in self.inputs else "phone"
        pitch = (
            """
            low = Gather (w_pitch, pitch)
            latent0 = Add (linear, low)
            """
            if self.f0
            else "latent0 = Identity (linear)"
        )
        who = {"obs-rvc": "zero", "RVC WebUI": "ds"}.get(self.exporter, "sid")
        if self.exporter == "RVC WebUI":
            prior = "spread = Identity (rnd)"
        else:
            kind = "RandomUniformLike" if self.uniform else "RandomNormalLike"
            prior = f"""
            drawn = {kind} <dtype = 1> (mean)
            spread = Mul (drawn, two_thirds)
            """
        if self.exporter == "deiteris":
            cut = """
            from = Unsqueeze (skip_head, zero)
            long = Unsqueeze (return_length, zero)
            until = Add (from, long)
            z = Slice (whole, from, until, two)
            """
            begin = "begin = Mul (from, hop)"
        else:
            cut, begin = "z = Identity (whole)", "begin = Identity (zero)"
        if self.named:
            rough = """
            smooth = Conv <pads = [{reach}, 1]> (z, "net.dec.conv_pre.weight")
            rough = ConvTranspose <strides = [{hop}]> (smooth, w_up)
            """.replace("{hop}", str(self.hop)).replace("{reach}", str(self.reach))
            source = 'source = Conv (excitation, "net.dec.noise_convs.0.weight")'
        else:
            rough = f"rough = ConvTranspose <strides = [{self.hop}]> (z, w_up)"
            source = "source = Identity (excitation)"
        hz = "hz = Cast <to = 1> (pitchf)" if self.f0 else "hz = Add (flat, hundred)"
        clip = self.exporter != "RVC WebUI"
        return f"""
            features = Cast <to = 1> ({phone})
            linear = MatMul (features, w_phone)
            {pitch}
            across = Transpose <perm = [0, 2, 1]> (latent0)
            person = Gather (w_speaker, {who})
            column = Reshape (person, as_column)
            latent = Add (across, column)
            mean = Conv <pads = [2, 2]> (latent, w_around)
            {prior}
            whole = Add (mean, spread)
            {cut}
            {rough}
            said = Tanh (rough)
            flat_phone = ReduceMax <axes = [2], keepdims = 0> (features)
            flat = Mul (flat_phone, nought)
            {hz}
            rows = Reshape (hz, as_rows)
            each = Mul (rows, ones)
            line = Reshape (each, as_line)
            steps = Mul (line, per_sample)
            heard = Cast <to = 9> (line)
            cycles = CumSum (steps, two_scalar)
            turns = Floor (cycles)
            phase = Sub (cycles, turns)
            angle = Mul (phase, tau)
            sine = Sin (angle)
            sounding = Cast <to = 1> (heard)
            wave = Mul (sine, sounding)
            {begin}
            voice = Slice (wave, begin, end, two)
            noise = RandomNormalLike (voice)
            a = Mul (voice, sung)
            b = Mul (noise, drawn_level)
            c = Mul (said, spoken)
            excitation = Add (a, b)
            {source}
            abc = Add (source, c)
            {"flat_sound = Reshape (abc, any)" if clip else "flat_sound = Identity (abc)"}
            audio = Cast <to = {10 if self.half else 1}> (flat_sound)
        """

    def model(self) -> Any:
        """The ONNX model."""
        real = "float16" if self.half else "float"
        out = "1, 1, N" if self.exporter == "RVC WebUI" else "N"
        text = f"""
        <ir_version: 8, opset_import: ["" : {self.opset}]>
        voice ({self.inputs}) => ({real}[{out}] audio) {{ {self.nodes()} }}
        """
        model = parser.parse_model(text)
        for name, array in self.weights().items():
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        if self.metadata is not None:
            entry = model.metadata_props.add()
            entry.key, entry.value = "metadata", json.dumps(self.metadata)
        return model

    def weights(self) -> dict[str, Any]:
        """Its tensors: seeded weights, and constants."""
        draw = np.random.default_rng(self.seed)

        def normal(*shape: int, scale: float) -> Any:
            return (scale * draw.standard_normal(shape)).astype(np.float32)

        whole = {
            "as_column": [1, LATENT, 1],
            "as_rows": [1, 1, -1, 1],
            "as_line": [1, 1, -1],
            "zero": [0],
            "two": [2],
            "any": [-1],
            "hop": [self.hop],
            "end": [np.iinfo(np.int64).max],
        }
        real = {
            "two_thirds": 0.66666,
            "nought": 0.0,
            "hundred": 100.0,
            "per_sample": 1.0 / (100 * self.hop),
            "tau": 2.0 * np.pi,
            "sung": self.sung if self.f0 else 0.0,
            "spoken": self.spoken,
            "drawn_level": self.drawn,
        }
        return {
            "w_phone": normal(self.dim, LATENT, scale=self.dim**-0.5),
            "w_pitch": normal(256, LATENT, scale=0.1),
            "w_speaker": normal(self.speakers, LATENT, scale=1.0),
            "w_around": normal(LATENT, LATENT, 5, scale=0.2),
            "net.dec.conv_pre.weight": normal(LATENT, LATENT, self.reach + 2, scale=0.1),
            "net.dec.noise_convs.0.weight": np.ones((1, 1, 1), np.float32),
            "w_up": normal(LATENT, 1, self.hop, scale=0.1),
            "ones": np.ones((1, 1, 1, self.hop), np.float32),
            "two_scalar": np.array(2, np.int64),
            **{name: np.array(values, np.int64) for name, values in whole.items()},
            **{name: np.array(value, np.float32) for name, value in real.items()},
        }

    def save(self, path: Path) -> Path:
        """Write the model to `path`."""
        onnx.save(self.model(), str(path))
        return path


def rename(model: Any, **names: str) -> Any:
    """The model with some of its inputs called otherwise."""
    for value in model.graph.input:
        if value.name in names:
            model.graph.node.insert(
                0, helper.make_node("Identity", [names[value.name]], [value.name])
            )
            value.name = names[value.name]
    return model


def typed(model: Any, name: str, kind: int = TensorProto.FLOAT) -> Any:
    """The model with another element type declared for one of its inputs."""
    for value in model.graph.input:
        if value.name == name:
            value.type.tensor_type.elem_type = kind
    return model


EXPORTED = Path(__file__).parent / "golden" / "rvc_export.onnx.xz"
EXPORTED_FRAMES, EXPORTED_NOISE = 40, 24 + 400  # rows: of the latent, and of the sound


def exported_inputs(frames: int, hz: float) -> dict[str, Any]:
    """Seeded inputs for the voice that torch exported (`golden/make_export.py`)."""
    draw = np.random.default_rng(7)
    return {
        "features": draw.standard_normal((1, frames, 768)).astype(np.float32),
        "length": np.array([frames]),
        "pitch": draw.integers(1, 256, (1, frames)),
        "f0": np.full((1, frames), hz, np.float32),
        "speaker": np.array([1]),
        "noise": frame_noise(8, 0, frames, EXPORTED_NOISE)[np.newaxis],
    }
