"""Writes the corpus anew: small files of every kind that the program reads from others.

Run it with `PYTHONPATH=tests python tests/fuzz/make_corpus.py`; it needs torch, faiss and onnx.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import soundfile
import strangers
import torch
from safetensors.torch import save_file

CORPUS = Path(__file__).parent / "corpus"
ROOT = Path(__file__).parents[2]


def main() -> None:
    """Write every file."""
    CORPUS.mkdir(exist_ok=True)
    weights()
    indices()
    sounds()
    texts()
    strangers.Stranger("obs-rvc", dim=256, hop=80).save(CORPUS / "voice.onnx")
    with zipfile.ZipFile(CORPUS / "voice.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a voice/voice.pth", (CORPUS / "new.pth").read_bytes())
        archive.writestr("a voice/added.index", (CORPUS / "flat.index").read_bytes())
        archive.writestr("read me.txt", "hello")


def weights() -> None:
    draw = torch.Generator().manual_seed(1)
    rows = torch.randn(3, 4, generator=draw)
    held: dict[str, Any] = {
        "weight": {
            "enc_p.emb_phone.weight": rows.half(),
            "turned": rows.t(),
            "tied": rows[1],
            "brain": rows.to(torch.bfloat16),
            "one": torch.tensor(7.5),
            "none": torch.zeros(0, 4),
        },
        "config": [513, 32, 192, [3, 7, 11], [[1, 3, 5]] * 3, "1"],
        "sr": "40k",
        "info": "200epoch",
        "median": np.float64(181.5),
        "sets": {"a": {1, 2}, "b": (None, True)},
    }
    torch.save(held, CORPUS / "new.pth")
    torch.save(held, CORPUS / "old.pth", _use_new_zipfile_serialization=False)
    tensors = {name: value.clone().contiguous() for name, value in held["weight"].items()}
    save_file(tensors, CORPUS / "voice.safetensors", metadata={"sr": "40k"})


def indices() -> None:
    rows = np.random.default_rng(1).standard_normal((24, 4)).astype(np.float32)
    flat = faiss.IndexFlatL2(4)
    flat.add(rows)
    faiss.write_index(flat, str(CORPUS / "flat.index"))
    lists = faiss.IndexIVFFlat(faiss.IndexFlatL2(4), 4, 2)
    lists.cp.min_points_per_centroid = 1
    lists.train(rows)
    lists.add(rows)
    faiss.write_index(lists, str(CORPUS / "lists.index"))


def sounds() -> None:
    time = np.arange(800) / 8000
    tone = np.stack([0.3 * np.sin(2 * np.pi * 220 * time), 0.2 * np.cos(time)], axis=1)
    for name, subtype in (("int.wav", "PCM_16"), ("float.wav", "FLOAT"), ("law.wav", "ULAW")):
        soundfile.write(CORPUS / name, tone, 8000, subtype)
    for name in ("tone.flac", "tone.ogg", "tone.mp3"):
        soundfile.write(CORPUS / name, tone, 8000)


def texts() -> None:
    points = [[0.005, 0.0], [0.015, 110.5], [0.025, 112.25], [0.035, 0.0]]
    lines = ["time,hz", *(f"{time},{hz}" for time, hz in points)]
    card = {
        "format": 1,
        "name": "ada",
        "rvc_version": "v2",
        "sample_rate": 40000,
        "speakers": ["ada"],
        "encoder": "contentvec-768",
        "feature_dim": 768,
        "latent": 192,
        "noise_scale": 0.66666,
        "f0_median_hz": 181.5,
        "f0_min_hz": 50.0,
        "f0_max_hz": 1100.0,
        "licence": "CC0",
        "consent": "given",
        "source": "a test",
        "files": {"synth.onnx": "0" * 64},
    }
    token = {
        "name": "ada",
        "sha256": "a" * 64,
        "made": "2026-01-01",
        "expires": "2027-01-01",
        "voices": ["ada"],
        "minutes_per_day": 5.5,
        "max_streams": 2,
    }
    preset = {"name": "low", "voice": "ada", "profile": "low", "controls": {"pitch": -3.5}}
    held: dict[str, Any] = {
        "curve.json": {"points": points},
        "columns.json": {"time": [0.0, 0.01], "f0": [100, None]},
        "voice.json": card,
        "tokens.json": {"format": 1, "tokens": [token]},
        "preset.json": preset,
        "presets.json": {"timbral_presets": 1, "presets": [preset]},
    }
    for name, value in held.items():
        (CORPUS / name).write_text(json.dumps(value) + "\n", "utf-8")
    (CORPUS / "curve.csv").write_text("\n".join(lines) + "\n", "utf-8")
    (CORPUS / "praat.tsv").write_text("Time\tF0_Hz\n0.01\t--undefined--\n0.02\t99.5\n", "utf-8")
    effects = ROOT / "offline" / "effects" / "built_in" / "clean-vocal.toml"
    (CORPUS / "effects.toml").write_bytes(effects.read_bytes())
    (CORPUS / "chain.toml").write_text(
        '[vocals]\nmodels = ["UVR-MDX-NET-Voc_FT"]\n\n[lead]\nmodels = ["UVR_MDXNET_KARA_2"]\n'
        'method = "mean"\n',
        "utf-8",
    )
    (CORPUS / "server.toml").write_text(
        'host = "127.0.0.1"\nport = 8765\nvoice = "starter"\nhome = "voices"\nworkers = 2\n'
        'proxies = ["127.0.0.1"]\nlog = "json"\n\n'
        "[limits]\nidle_s = 30.5\nupload_bytes = 1048576\n",
        "utf-8",
    )


if __name__ == "__main__":
    main()
