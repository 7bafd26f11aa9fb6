"""RVC voices of published shapes with seeded random weights, installed into a store."""

import json
from pathlib import Path

from random_encoder import BASE, random_encoder
from reference import folded, network, shape_of

from stream.device import CPU
from stream.importer.graphs.decoder import delay
from stream.importer.graphs.hubert import HubertShape
from stream.importer.graphs.nsf import write
from stream.models.digest import sha256
from stream.models.store import Store
from stream.models.voice import CARD, Voice, VoiceCard


def random_voice(
    home: Path,
    version: str = "v2",
    rate: int = 40_000,
    *,
    narrow: bool = True,
    f0: bool = True,
    encoder: HubertShape = BASE,
    threads: int = 1,
) -> Voice:
    """A voice in `home`, with its encoder, loaded; it babbles, at the speaker's pitch."""
    shape = shape_of(version, rate, f0=f0, narrow=narrow)
    checkpoint = folded(network(shape), shape)
    name = f"babble-{version}-{rate // 1000}k" + ("" if f0 else "-no-f0")
    folder = home / "voices" / name
    folder.mkdir(parents=True)
    files = {file: sha256(folder / file) for file in write(checkpoint, folder)}
    random_encoder(home, checkpoint.embedder, shape=encoder)
    card = VoiceCard(
        name=name,
        kind="nsf",
        rvc_version=shape.version,
        sample_rate=rate,
        speakers=checkpoint.speakers,
        encoder=checkpoint.embedder,
        feature_dim=shape.dim,
        noise_scale=0.66666,
        f0=f0,
        f0_median_hz=None,
        f0_min_hz=50.0,
        f0_max_hz=1100.0,
        licence="CC0-1.0",
        consent="nobody's voice",
        source="random numbers",
        files=files,
        latent=shape.inter,
        late=delay(shape),
    )
    (folder / CARD).write_text(json.dumps(card.model_dump(mode="json")))
    return Store(home, threads=threads).load(name, CPU)
