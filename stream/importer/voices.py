"""From somebody's files to a voice in the store: the whole way, or nothing."""

import re
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stream.errors import BadCheckpoint, ConfigError, HostileFile, ModelError, VoiceError
from stream.importer import foreign
from stream.importer.archive import CARD, INDICES, is_archive, look, unpack
from stream.importer.checkpoint import RvcCheckpoint
from stream.importer.foreign import ForeignVoice
from stream.importer.graphs import nsf
from stream.importer.indices import IndexFacts, inspect_index, is_index
from stream.importer.recognise import recognise
from stream.importer.tensors import is_onnx, read_tensors
from stream.models.assets import installed, missing
from stream.models.digest import sha256
from stream.models.store import Store
from stream.models.voice import INDEX, VoiceCard

Progress = Callable[[int, int], None]  # steps done, steps in all
STEPS: Final = 4  # found, read, written, installed
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
NAMELESS = frozenset({"", "model", "voice", "weights", "pytorch_model", "added", "rvc"})
PRIOR_SPREAD: Final = 0.66666  # of the noise on the latent, in all of RVC's inference code
F0_RANGE: Final = (50.0, 1100.0)  # Hz, RVC's
UNKNOWN: Final = "unknown: ask whoever published the voice"
FORGOTTEN: Final = 86_400.0  # seconds after which what an import left behind is swept


@dataclass
class _Given:
    """What the files turned out to be. `names` are what the voice may be called after."""

    bundle: Path | None = None
    models: list[Path] = field(default_factory=list)
    indices: list[Path] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Read:
    path: Path
    voice: RvcCheckpoint | ForeignVoice


def import_voice(
    files: Sequence[Path],
    *,
    store: Store,
    name: str | None = None,
    index: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> VoiceCard:
    """Add the voice in `files` to the store; its card.

    files     a bundle's folder, or a `.pth`, `.safetensors` or `.onnx` file, or a zip or folder
              with one of these, with or without a faiss index beside
    name      what to call it; made from the file's name when it is not given
    index     the faiss index to use, whatever else there is

    Law: a voice that the store lists afterwards is whole; on any error the store is as before.
    Raises `HostileFile`, `BadCheckpoint` and `ModelMismatch` for files that cannot be used,
    `BadBundle` for a broken bundle, `ConfigError` for a name that is taken or no name, `VoiceError`
    when the store cannot be written.
    """
    if name is not None:
        _check_name(name, store)
    with _workplace(store) as work:
        given = _gather(files, work)
        if index is not None:
            given.indices = [_there(index)]
        progress(1, STEPS)
        if given.bundle is not None:
            if name is not None or index is not None or len(files) > 1:
                raise ConfigError("A bundle is complete and has its name: add it alone.")
            if (given.bundle / INDEX).is_file():
                inspect_index(given.bundle / INDEX)
            return store.add(given.bundle)
        read = _only_voice(given.models)
        progress(2, STEPS)
        chosen = name or _free_name([*given.names, read.path.stem], store)
        folder = work / "bundle"
        folder.mkdir()
        written = _write(read, folder)
        found = _index(given.indices, written["feature_dim"], read.path.stem)
        if found is not None:
            shutil.copyfile(found.path, folder / INDEX)
        progress(3, STEPS)
        card = _card(chosen, read.path, folder, written)
        (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        added = store.add(folder)
        progress(STEPS, STEPS)
        return added


def advice(card: VoiceCard, store: Store) -> str:
    """What is still missing for the voice to speak, and the command for it; "" when nothing is."""
    if installed(store.home, card.encoder):
        return ""
    return str(missing(card.encoder, "encoder", store.home, needed_by=f"Voice '{card.name}'"))


def voice_name(stem: str) -> str:
    """A voice's name made from a file's, without training programs' counts; "" if nothing is left.

    >>> voice_name("Ada Lovelace_e300_s12000"), voice_name("Zoë (v2)"), voice_name("声")
    ('ada-lovelace', 'zoe-v2', '')
    """
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[_-]e\d+([_-]s\d+)?$", "", plain)
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")[:64]


@contextmanager
def _workplace(store: Store) -> Generator[Path, None, None]:
    """A hidden folder in the store, gone afterwards; what a killed import left is swept."""
    voices = store.home / "voices"
    work: Path | None = None
    try:
        voices.mkdir(parents=True, exist_ok=True)
        for left in voices.glob(".import-*"):
            if time.time() - left.stat().st_mtime > FORGOTTEN:
                shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=".import-", dir=voices))
        yield work
    except OSError as error:
        raise VoiceError(
            f"The voice cannot be written to {voices}: {error.strerror or error}. "
            "Make room there, or choose another place with TIMBRAL_HOME."
        ) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _gather(files: Sequence[Path], work: Path) -> _Given:
    given = _Given()
    for number, path in enumerate(map(_there, files)):
        folder = path
        if path.is_file() and is_archive(path):
            folder = work / f"archive-{number}"
            folder.mkdir()
            unpack(path, folder)
        if folder.is_dir():
            try:
                found = look(folder)
            except BadCheckpoint as error:
                raise BadCheckpoint(path, error.why) from error
            given.bundle = given.bundle or found.bundle
            given.models += found.models
            given.indices += found.indices
            given.names.append(path.stem if path.is_file() else path.name)
        elif path.suffix.lower() in INDICES or is_index(path):
            given.indices.append(path)
        else:
            given.models.append(path)
    if given.bundle is None and not given.models:
        raise ConfigError(
            "An index alone is no voice. Give the voice's .pth file too: "
            "timbral voices add VOICE.pth --index FILE.index"
        )
    return given


def _there(path: Path) -> Path:
    if not path.exists():
        raise BadCheckpoint(path, f"there is no file {path}.")
    return path


def _only_voice(paths: Sequence[Path]) -> _Read:
    """The one voice among the files; what the others are does not matter, unless there is none."""
    tried = [_try_read(path) for path in paths]
    voices = [each for each in tried if isinstance(each, _Read)]
    refusals = [each for each in tried if isinstance(each, ModelError)]
    if len(voices) > 1:
        names = ", ".join(sorted(read.path.name for read in voices))
        raise ConfigError(f"There are {len(voices)} voices ({names}): add them one by one.")
    if not voices:
        raise refusals[0]
    return voices[0]


def _try_read(path: Path) -> _Read | ModelError:
    with path.open("rb") as file:
        head = file.read(2)
    try:
        if path.suffix.lower() == ".onnx" or is_onnx(head):
            return _Read(path, foreign.recognise(path))
        return _Read(path, recognise(read_tensors(path)))
    except HostileFile:
        raise
    except ModelError as error:
        return error


def _write(read: _Read, folder: Path) -> dict[str, Any]:
    """Write the graphs; what the card must tell of them and of the voice."""
    voice = read.voice
    if isinstance(voice, ForeignVoice):
        dim = voice.dim
        foreign.write_bundle(voice, folder)
        return {
            "kind": "blackbox",
            "rvc_version": "v1" if dim == 256 else "v2",
            "sample_rate": voice.sample_rate,
            "feature_dim": dim,
            "f0": voice.f0,
            "speakers": tuple(f"speaker {i}" for i in range(voice.speakers)),
            "encoder": voice.embedder or f"contentvec-{dim}",
            "f0_median_hz": None,
            "about": {"exporter": voice.exporter},
            **foreign.about(voice),
        }
    nsf.write(voice, folder)
    return {
        "kind": "nsf",
        "rvc_version": voice.shape.version,
        "sample_rate": voice.shape.sample_rate,
        "feature_dim": voice.shape.dim,
        "f0": voice.shape.f0,
        "speakers": voice.speakers,
        "encoder": voice.embedder,
        "f0_median_hz": voice.f0_median_hz,
        "about": dict(voice.about),
        **nsf.about(voice),
    }


def _index(paths: Sequence[Path], dim: int, stem: str) -> IndexFacts | None:
    """The one index that fits the voice; several are told apart by the voice's name."""
    tried = [_try_index(path, dim) for path in paths]
    usable = [each for each in tried if isinstance(each, IndexFacts)]
    refusals = [each for each in tried if isinstance(each, BadCheckpoint)]
    if not usable and refusals:
        raise refusals[0]
    if len(usable) > 1:
        named = [facts for facts in usable if _letters(stem) in _letters(facts.path.stem)]
        if len(named) != 1:
            names = ", ".join(sorted(facts.path.name for facts in usable))
            raise ConfigError(f"Which index belongs to the voice: {names}? Tell by --index.")
        usable = named
    return usable[0] if usable else None


def _letters(stem: str) -> str:
    return re.sub(r"[-_]", "", voice_name(stem))


def _try_index(path: Path, dim: int) -> IndexFacts | BadCheckpoint:
    try:
        facts = inspect_index(path)
    except BadCheckpoint as error:
        return error
    if facts.dim == dim:
        return facts
    version = {256: "an RVC v1", 768: "an RVC v2"}.get(facts.dim, "another")
    return BadCheckpoint(
        path,
        f"its vectors have {facts.dim} columns and belong to {version} voice; "
        f"this voice takes {dim}.",
    )


def _card(name: str, source: Path, folder: Path, written: Mapping[str, Any]) -> VoiceCard:
    return VoiceCard.model_validate(
        {
            "name": name,
            "noise_scale": PRIOR_SPREAD,
            "f0_min_hz": F0_RANGE[0],
            "f0_max_hz": F0_RANGE[1],
            "licence": UNKNOWN,
            "consent": UNKNOWN,
            "source": f"imported from {source.name[:100]}, sha256 {sha256(source)}",
            "files": {path.name: sha256(path) for path in sorted(folder.iterdir())},
            **written,
        }
    )


def _free_name(stems: Sequence[str], store: Store) -> str:
    """From the voice's file, or from what it came in where that says more."""
    made = [voice_name(stem) for stem in reversed(stems)]
    name = next((each for each in made if each not in NAMELESS), "voice")
    _check_name(name, store)
    return name


def _check_name(name: str, store: Store) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be a voice's name: lower-case letters, digits, - and _, "
            "64 at most, the first a letter or digit."
        )
    if name in store.names():
        raise ConfigError(
            f"There is a voice '{name}' already. Choose another name (--name), "
            f"or remove it first: timbral voices remove {name}"
        )
