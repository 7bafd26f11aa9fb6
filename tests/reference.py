"""RVC's own modules, from the MIT package `infer_rvc_python`, with seeded weights: what ours equal.

Only its network definitions are imported; the package itself would load far more than they need.
"""

import importlib
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from stream.importer.checkpoint import RvcCheckpoint, RvcShape

PACKAGE = "infer_rvc_python"
RATES: dict[tuple[str, int], tuple[tuple[int, ...], tuple[int, ...]]] = {
    ("v2", 32_000): ((10, 8, 2, 2), (20, 16, 4, 4)),
    ("v2", 40_000): ((10, 10, 2, 2), (16, 16, 4, 4)),
    ("v2", 48_000): ((12, 10, 2, 2), (24, 20, 4, 4)),
    ("v1", 32_000): ((10, 4, 2, 2, 2), (16, 16, 4, 4, 4)),
    ("v1", 40_000): ((10, 10, 2, 2), (16, 16, 4, 4)),
    ("v1", 48_000): ((10, 6, 2, 2, 2), (16, 16, 4, 4, 4)),
}


def modules(name: str) -> Any:
    """`infer_rvc_python.lib.<name>`, without running the package's own start."""
    if PACKAGE not in sys.modules:
        spec = find_spec(PACKAGE)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"pip install --no-deps {PACKAGE}==1.3.1")
        package = ModuleType(PACKAGE)
        package.__path__ = [str(Path(spec.origin).parent)]
        sys.modules[PACKAGE] = package
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its age shows
        return importlib.import_module(f"{PACKAGE}.lib.{name}")


def shape_of(
    version: str, rate: int, *, f0: bool = True, speakers: int = 3, narrow: bool = False
) -> RvcShape:
    """The published shape, or the same with an eighth of the decoder's channels."""
    rates, kernels = RATES[version, rate]
    return RvcShape(
        version="v1" if version == "v1" else "v2",
        sample_rate=rate,
        dim=256 if version == "v1" else 768,
        upsample_rates=rates,
        upsample_kernels=kernels,
        speakers=speakers,
        f0=f0,
        upsample_initial=64 if narrow else 512,
    )


def network(shape: RvcShape, seed: int = 0) -> Any:
    """RVC's synthesizer with seeded weights of a size that keeps every stage's signal alive."""
    dim = 256 if shape.version == "v1" else 768
    kind = f"SynthesizerTrnMs{dim}NSFsid" + ("" if shape.f0 else "_nono")
    bins = 513 if shape.sample_rate == 32_000 else 1025
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = getattr(modules("infer_pack.models"), kind)(
            bins, 32, shape.inter, shape.hidden, shape.filter, shape.heads, shape.layers,
            shape.kernel, 0.0, "1", list(shape.resblock_kernels),
            [list(d) for d in shape.resblock_dilations], list(shape.upsample_rates),
            shape.upsample_initial, list(shape.upsample_kernels), shape.speakers, shape.gin,
            shape.sample_rate, is_half=False,
        )  # fmt: skip
    del net.enc_q
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("weight_g"):
                gain = 2.0 if ".ups." in name else 0.5 if "resblocks" in name else 0.8
                value.mul_(0.0).add_(gain)
            elif name.endswith("post.weight"):
                value.normal_(0.0, 0.03)  # zero in a new network: the flow would do nothing
            elif "emb_rel" in name or name.endswith("emb_g.weight"):
                value.normal_(0.0, 0.3)
    return net.eval()


def folded(net: Any, shape: RvcShape) -> RvcCheckpoint:
    """The network's weights as the importer gives them, weight norm folded by torch itself."""
    weights: dict[str, np.ndarray[Any, Any]] = {}
    state: dict[str, torch.Tensor] = net.state_dict()
    for name, value in state.items():
        if name.endswith("weight_g"):
            direction = state[name[:-1] + "v"]
            size = direction.norm(dim=tuple(range(1, direction.ndim)), keepdim=True)
            weights[name[:-2]] = (value * direction / size).numpy()
        elif not name.endswith("weight_v"):
            weights[name] = value.numpy()
    return RvcCheckpoint(
        shape=shape,
        weights=weights,
        speakers=tuple(str(i) for i in range(shape.speakers)),
        embedder=f"contentvec-{shape.dim}",
        f0_median_hz=None,
        about={},
    )
