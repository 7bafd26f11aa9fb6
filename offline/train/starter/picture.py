"""Spectrograms of a recording and its conversion, one above the other."""

from pathlib import Path

import soundfile

TOP_HZ = 8_000
FLOOR_DB, CEILING_DB = -140, -30


def picture(before: Path, after: Path, path: Path) -> None:
    """Draw both sound files into the PNG at `path`."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 1, figsize=(11, 6.5), sharex=True)
    for axis, sound in zip(axes, (before, after), strict=True):
        samples, rate = soundfile.read(sound, dtype="float32")
        axis.specgram(
            samples, NFFT=rate // 32, Fs=rate, noverlap=rate // 43, vmin=FLOOR_DB, vmax=CEILING_DB
        )
        axis.set_ylim(0, TOP_HZ)
        axis.set_ylabel("Hz")
        axis.set_title(sound.stem)
    axes[-1].set_xlabel("s")
    figure.tight_layout()
    figure.savefig(path, dpi=70)
