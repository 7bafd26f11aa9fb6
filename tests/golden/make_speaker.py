"""Writes resemblyzer.npz: speaker embeddings of tests/speech by the package `resemblyzer` itself.

Run in an environment with `pip install resemblyzer`: python tests/golden/make_speaker.py
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

HERE = Path(__file__).parent
LENGTHS = ((880, 47_840), (880, 9_000), (930, 30_000))  # recording, samples of it


def main() -> None:
    from resemblyzer import VoiceEncoder  # pyright: ignore[reportMissingImports]

    encoder: Any = VoiceEncoder("cpu", verbose=False)
    found: dict[str, Any] = {}
    for number, length in LENGTHS:
        path = HERE.parent / "speech" / f"sense-and-sensibility-{number:04d}.wav"
        heard = soundfile.read(path, dtype="float32")[0][:length]
        found[f"{number}-{length}"] = np.asarray(encoder.embed_utterance(heard), np.float32)
    np.savez(HERE / "resemblyzer.npz", **found)


if __name__ == "__main__":
    sys.exit(main())
