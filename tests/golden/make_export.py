"""Writes `rvc_export.onnx.xz` and `rvc_export.npz`: an RVC voice as torch exports it.

The network is RVC's own (see `reference.py`), an eighth as wide, with seeded weights of five
values so that the file is small, exported as w-okada's voice changer does: the same names, the
same clipping, operator set 17. The sounds are what torch says of the inputs of
`strangers.exported_inputs`, given our noise in place of its own.
"""

import lzma
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import torch
from published import rvc_config, rvc_state
from reference import modules
from strangers import EXPORTED_FRAMES as FRAMES
from strangers import exported_inputs
from torch import Tensor

HERE = Path(__file__).parent
NAMES = ["feats", "p_len", "pitch", "pitchf", "sid"]
SPEAKERS, LATENT = 3, 24


class Export(torch.nn.Module):
    """What w-okada's exporter traces."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, feats: Tensor, p_len: Tensor, pitch: Tensor, pitchf: Tensor, sid: Tensor
    ) -> Tensor:
        sound = self.net.infer(feats, p_len, pitch, pitchf, sid)[0][0, 0]
        return torch.clip(sound, -1.0, 1.0)


def network() -> Any:
    config = rvc_config("v2", 40_000, narrow=8)
    config[15] = SPEAKERS
    net = modules("infer_pack.models").SynthesizerTrnMs768NSFsid(*config, is_half=False)
    del net.enc_q
    net.load_state_dict(rvc_state("v2", 40_000, speakers=SPEAKERS, narrow=8))
    net.dec.remove_weight_norm()
    net.flow.remove_weight_norm()
    with torch.no_grad():
        for weight in net.parameters():
            step = weight.std() if weight.numel() > 1 else weight.abs()
            weight.copy_((weight / step).round().clamp(-2, 2).nan_to_num() * step)
    return net.eval()


def given(frames: int, hz: float) -> tuple[Tensor, ...]:
    inputs = exported_inputs(frames, hz)
    names = ("features", "length", "pitch", "f0", "speaker")
    return tuple(torch.from_numpy(inputs[name]) for name in names)


def says(net: Any, inputs: tuple[Tensor, ...], noise: list[Tensor]) -> Tensor:
    """The network's sound, when it draws these numbers."""
    drawn = iter(noise)

    def same_shape(like: Tensor, **_: Any) -> Tensor:
        value = next(drawn)
        assert value.shape == like.shape
        return value

    with patch("torch.randn_like", same_shape), torch.no_grad():
        return Export(net)(*inputs)


def export(net: Any) -> bytes:
    axes = {name: {1: "frames"} for name in ("feats", "pitch", "pitchf")}
    with TemporaryDirectory() as place:
        path = Path(place) / "voice.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Export(net), given(64, 220.0), str(path), input_names=NAMES,
                output_names=["audio"], dynamic_axes=axes, opset_version=17, dynamo=False,
            )  # fmt: skip
        model = onnx.load(str(path))
    for node in model.graph.node:
        node.ClearField("doc_string")
    return model.SerializeToString()


def main() -> None:
    torch.manual_seed(0)
    net = network()
    noise = torch.from_numpy(exported_inputs(FRAMES, 0.0)["noise"])
    drawn = [noise[:, :LATENT], noise[0, LATENT:].T.reshape(1, -1, 1)]
    sounds = {str(hz): says(net, given(FRAMES, float(hz)), drawn) for hz in (0, 220)}
    kept: dict[str, Any] = {
        name: sound.numpy().astype(np.float16) for name, sound in sounds.items()
    }
    np.savez_compressed(HERE / "rvc_export.npz", **kept)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 2, "pb": 2}]
    (HERE / "rvc_export.onnx.xz").write_bytes(lzma.compress(export(net), filters=filters))


if __name__ == "__main__":
    main()
