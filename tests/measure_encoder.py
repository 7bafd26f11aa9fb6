"""Print what a windowed HuBERT of base size costs here, and how far a stream is from one pass.

    python tests/measure_encoder.py [--frames 300]

Weights are random: the costs are those of any weights, the distances are not (see the docstring of
`random_encoder`). Costs are the CPU time of one thread, so that a busy machine spoils them less.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import typer
from random_encoder import BASE, random_encoder

from stream.audio import CONTENT_HOP, Audio
from stream.device import CPU
from stream.models.content import ContentEncoder
from stream.models.voice import load_encoder

CLIPS = Path(__file__).parent / "speech"
HOPS = ((2, 16, 2), (5, 16, 2), (5, 25, 2), (8, 16, 2), (8, 25, 2), (8, 50, 2), (12, 25, 4))
SIZES = ((0, 25), (2, 10), (2, 25), (2, 50), (2, 100), (5, 50), (10, 50), (20, 100))


def streamed(encoder: ContentEncoder, sound: Audio, delay: int, context: int, hop: int) -> Audio:
    """The committed features of `sound` in hops; the first `delay` frames are zeros."""
    hearing = encoder.open(delay, context)
    steps = range(0, len(sound), hop * CONTENT_HOP)
    return np.concatenate([hearing.step(sound[at : at + hop * CONTENT_HOP])[:hop] for at in steps])


def distances(encoder: ContentEncoder, sound: Audio) -> None:
    """Print relative distance and cosine for several sizes of the window."""
    typer.echo("| look-ahead, ms | context, ms | distance | cosine |\n|---:|---:|---:|---:|")
    whole = encoder.open(0, 0).step(sound)
    for delay, context in SIZES:
        found = streamed(encoder, sound, delay, context, 5)
        a, b = found[100 + delay :], whole[100 : len(whole) - delay]
        far = np.linalg.norm(a - b) / np.linalg.norm(b)
        cosine = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        typer.echo(f"| {delay * 20} | {context * 20} | {far:.3f} | {cosine.mean():.3f} |")


def costs(encoder: ContentEncoder, sound: Audio, rounds: int = 15) -> None:
    """Print the CPU time of a step: the least and the median of some."""
    typer.echo("| hop | context | look-ahead | rows | ms a hop, least | median | of the hop |")
    typer.echo("|---:|---:|---:|---:|---:|---:|---:|")
    for hop, context, delay in HOPS:
        hearing = encoder.open(delay, context)
        hearing.hear(sound[: (context + delay + hop) * CONTENT_HOP])
        took: list[float] = []
        for i in range(rounds):
            part = sound[(60 + i * hop) * CONTENT_HOP : (60 + (i + 1) * hop) * CONTENT_HOP]
            start = time.thread_time()
            hearing.step(part)
            took.append(1000.0 * (time.thread_time() - start))
        best, middle = min(took), float(np.median(took))
        sizes = " | ".join(str(20 * n) for n in (hop, context, delay))
        share = middle / (20 * hop)
        typer.echo(
            f"| {sizes} | {hop + context + delay} | {best:.0f} | {middle:.0f} | {share:.2f} |"
        )


def main(frames: int = 300) -> None:
    """Measure, on the recordings of the tests."""
    sound = np.concatenate([soundfile.read(path)[0] for path in sorted(CLIPS.glob("*.wav"))])
    sound = sound.astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        for sharp in (1.0, 2.0):
            path = random_encoder(Path(folder), f"sharp-{sharp:.0f}", BASE, sharp=sharp)
            encoder = load_encoder(path, CPU)
            typer.echo(f"\nAttention of sharpness {sharp:.0f}, float32:\n")
            distances(encoder, sound[: frames * CONTENT_HOP])
        typer.echo("\nfloat32:\n")
        costs(encoder, sound)
        path = random_encoder(Path(folder), "eight", BASE, eight_bit=True)
        rough = load_encoder(path, CPU)
        whole, found = (e.open(0, 0).step(sound[: 100 * CONTENT_HOP]) for e in (encoder, rough))
        far = np.linalg.norm(found - whole) / np.linalg.norm(whole)
        typer.echo(f"\n8 bits, {far:.3f} from float32 on the same 2 s:\n")
        costs(rough, sound)


if __name__ == "__main__":
    typer.run(main)
