"""Recordings as models hear them and as a voice is to say them, made once and kept in the cache.

Two steps for a file, both known by the hash of its content, never by its name: "dataset-heard" is
16 kHz with what is known of the sound, "dataset-said" is the sound at the voice's rate.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from offline.cache import Cache, Step
from offline.dataset.cleaning import denoise, high_pass
from offline.dataset.duplicates import Print, fingerprint
from offline.dataset.quality import GATED_DB, Quality, quality, tonal
from offline.dataset.recordings import Source
from offline.dataset.settings import DatasetSettings
from stream.audio import ANALYSIS_RATE, CONTENT_HOP, Audio, gain, soft_limit
from stream.errors import AudioError
from stream.files import SoundFile
from stream.resample import Resampler

VERSION = 1  # of both steps
SILENT_DB = -70.0  # dBFS: recordings without anything louder hold nothing
MOST_GAIN_DB = 40.0
HEARD, LEVELS, PRINT = ("heard.npy", "levels.npy", "print.npy")
SAID = "said.npy"
QUALITY = "quality.json"


@dataclass(frozen=True)
class Recording:
    """A file that was heard.

    sha256    of its bytes
    entry     the cache's folder with its 16 kHz sound
    gain_db   that brings it to the wanted level
    """

    source: Source
    sha256: str
    entry: Path
    quality: Quality
    gain_db: float

    @property
    def frames(self) -> int:
        """Whole content frames of 20 ms."""
        return len(np.load(self.entry / HEARD, mmap_mode="r")) // CONTENT_HOP

    def heard(self, first: int, until: int) -> Audio:
        """Content frames `first` to `until` - 1 of the 16 kHz sound at the wanted level, [320 n].

        Before the recording's begin and behind its end there is silence.
        """
        whole = np.load(self.entry / HEARD, mmap_mode="r")
        return loud(piece(whole, first * CONTENT_HOP, until * CONTENT_HOP), self.gain_db)

    def levels(self) -> Audio:
        """dBFS of its frames of 20 ms, before the gain, [n]."""
        return np.load(self.entry / LEVELS)

    def print(self) -> Print:
        """What it is recognised by."""
        return np.load(self.entry / PRINT)


def piece(whole: Audio, begin: int, end: int) -> Audio:
    """Samples begin .. end - 1 of `whole` [n], with silence where it has none."""
    inside = np.asarray(whole[max(0, begin) : max(0, end)], np.float32)
    lead = max(0, min(end, 0) - begin) if begin < 0 else 0
    return np.pad(inside, (lead, end - begin - lead - len(inside)))


def loud(x: Audio, gain_db: float) -> Audio:
    """`x` with that gain; what would be too loud is bent, never cut off, and never an error."""
    return soft_limit(x * np.float32(gain(gain_db)))


def listen(source: Source, digest: str, settings: DatasetSettings, cache: Cache) -> Recording:
    """Hear a file. Raises `AudioError` when it is damaged, silent, too short or telephone sound."""
    step = heard_step(digest, settings)
    entry = cache.make(step, lambda folder: _hear(source.path, settings, folder))
    found = Quality.model_validate_json((entry / QUALITY).read_bytes())
    _refuse(found, settings)
    gain_db = 0.0
    if settings.loudness == "recording":
        wanted = settings.level_db - found.speech_db
        gain_db = round(min(max(wanted, -MOST_GAIN_DB), MOST_GAIN_DB), 2)
    return Recording(source, digest, entry, found, gain_db)


def say(recording: Recording, settings: DatasetSettings, cache: Cache) -> Path:
    """The file with the sound at the voice's rate, before the gain: .npy, float32 [n]."""
    path = recording.source.path
    entry = cache.make(
        said_step(recording.sha256, settings), lambda folder: _say(path, settings, folder)
    )
    return entry / SAID


def heard_step(digest: str, settings: DatasetSettings) -> Step:
    """What the 16 kHz sound of a file depends on."""
    parameters = {"high_pass_hz": settings.high_pass_hz, "denoise": settings.denoise}
    return Step("dataset-heard", VERSION, parameters, (digest,))


def said_step(digest: str, settings: DatasetSettings) -> Step:
    """What the sound at the voice's rate depends on."""
    parameters = {
        "high_pass_hz": settings.high_pass_hz,
        "denoise": settings.denoise,
        "sample_rate": settings.sample_rate,
    }
    return Step("dataset-said", VERSION, parameters, (digest,))


def _refuse(found: Quality, settings: DatasetSettings) -> None:
    if found.seconds < settings.shortest_s:
        raise AudioError(
            f"It is {found.seconds:.1f} s long, less than the {settings.shortest_s:g} s that a "
            "piece of speech must have."
        )
    if found.speech_db < SILENT_DB:
        raise AudioError(
            f"It is silent: nothing in it is louder than {max(found.speech_db, GATED_DB):.0f} dBFS."
        )
    if is_telephone(found) and not settings.telephone:
        raise AudioError(
            f"It is telephone sound: nothing above {found.bandwidth_hz / 1000:.1f} kHz, whatever "
            f"rate the file has ({found.source_rate} Hz). A voice would be as dull. Record it "
            "again at 32 kHz or more; `--telephone` takes it all the same."
        )


def is_telephone(found: Quality) -> bool:
    """Whether there is no sound above 4 kHz to speak of."""
    return found.source_rate <= 11_025 or 0.0 < found.bandwidth_hz <= 4_600.0


def _read(path: Path) -> tuple[Audio, int, int]:
    """The sound, its rate, and the file's rate. Raises `AudioError`."""
    file = SoundFile(path)
    try:
        return file.read(), file.rate, file.source_rate
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path} is damaged: {error} Export it again.") from error


def _hear(path: Path, settings: DatasetSettings, folder: Path) -> None:
    raw, rate, source_rate = _read(path)
    clean = high_pass(raw, rate, settings.high_pass_hz)
    found, levels = quality(raw, clean, rate, source_rate)
    clean = denoise(clean, rate, settings.denoise)
    convert = Resampler(rate, ANALYSIS_RATE)  # the one that the live engine has
    heard = np.concatenate([convert.step(clean), convert.flush()]).astype(np.float32)
    found = found.model_copy(update={"tonal": tonal(heard, levels, found.threshold_db)})
    for name, values in zip(
        (HEARD, LEVELS, PRINT), (heard, levels, fingerprint(heard)), strict=True
    ):
        np.save(folder / name, values)
    (folder / QUALITY).write_text(found.model_dump_json(indent=1), "utf-8")


def _say(path: Path, settings: DatasetSettings, folder: Path) -> None:
    raw, rate, _ = _read(path)
    clean = denoise(high_pass(raw, rate, settings.high_pass_hz), rate, settings.denoise)
    if rate != settings.sample_rate:
        clean = soxr.resample(clean, rate, settings.sample_rate, quality="VHQ")
    np.save(folder / SAID, clean.astype(np.float32))
