"""HuBERT-shaped content encoders with seeded random weights.

Random weights show that every tensor is read, placed and computed right, and what a step costs.
They cannot show how well real features survive a short window: attention that was trained looks
for something, attention that was not looks everywhere alike.
"""

from pathlib import Path

import numpy as np

from stream.importer.graphs.hubert import HubertShape, Weights, write
from stream.models.content import EncoderCard
from stream.models.digest import sha256
from stream.models.voice import ENCODER_CARD

BASE = HubertShape()
NARROW = HubertShape(channels=32, width=48, heads=4, inner=96, layers=3, reach=16, groups=4, dim=48)


def random_weights(
    shape: HubertShape, seed: int = 0, *, final: bool = False, sharp: float = 2.0
) -> Weights:
    """A state dict as `transformers` names it, weight norm folded.

    final   adds `final_proj`
    sharp   how far attention tells frames apart: at 1 it hears all alike, at 2 a few only
    """
    draw = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}

    def tensor(name: str, size: tuple[int, ...], spread: float, middle: float = 0.0) -> None:
        weights[name] = draw.standard_normal(size, np.float32) * np.float32(spread)
        weights[name] += np.float32(middle)

    def linear(name: str, outputs: int, inputs: int, gain: float = 1.0) -> None:
        tensor(f"{name}.weight", (outputs, inputs), gain * inputs**-0.5)
        tensor(f"{name}.bias", (outputs,), 0.1)

    def norm(name: str, size: int) -> None:
        tensor(f"{name}.weight", (size,), 0.1, 1.0)
        tensor(f"{name}.bias", (size,), 0.1)

    for i, kernel in enumerate(shape.kernels):
        size = (shape.channels, shape.channels if i else 1, kernel)
        spread = (2.0 / (size[1] * kernel)) ** 0.5
        tensor(f"feature_extractor.conv_layers.{i}.conv.weight", size, spread)
    norm("feature_extractor.conv_layers.0.layer_norm", shape.channels)
    norm("feature_projection.layer_norm", shape.channels)
    linear("feature_projection.projection", shape.width, shape.channels)
    size = (shape.width, shape.width // shape.groups, shape.reach)
    tensor("encoder.pos_conv_embed.conv.weight", size, (size[1] * size[2]) ** -0.5)
    tensor("encoder.pos_conv_embed.conv.bias", (shape.width,), 0.1)
    norm("encoder.layer_norm", shape.width)
    for i in range(shape.layers):
        name = f"encoder.layers.{i}"
        for part in ("q", "k", "v", "out"):
            gain = sharp if part in "qk" else 1.0
            linear(f"{name}.attention.{part}_proj", shape.width, shape.width, gain)
        linear(f"{name}.feed_forward.intermediate_dense", shape.inner, shape.width)
        linear(f"{name}.feed_forward.output_dense", shape.width, shape.inner)
        norm(f"{name}.layer_norm", shape.width)
        norm(f"{name}.final_layer_norm", shape.width)
    if final:
        linear("final_proj", shape.dim, shape.width)
    return weights


def random_encoder(
    home: Path,
    identity: str = "contentvec-768",
    shape: HubertShape = BASE,
    *,
    sharp: float = 2.0,
    eight_bit: bool = False,
) -> Path:
    """Write an encoder into the store at `home`, where a voice finds it by name; its folder.

    Of full size it takes some seconds and 380 MB; `NARROW` is written and run at once.
    """
    folder = home / "models" / identity
    folder.mkdir(parents=True)
    weights = random_weights(shape, final=shape.projected, sharp=sharp)
    files = write(shape, weights, folder, eight_bit=eight_bit)
    card = EncoderCard(
        id=identity,
        kind="hubert",
        dim=shape.dim,
        channels=shape.channels,
        width=shape.width,
        licence="none: random numbers",
        files={name: sha256(folder / name) for name in files},
    )
    (folder / ENCODER_CARD).write_text(card.model_dump_json(indent=2), "utf-8")
    return folder
