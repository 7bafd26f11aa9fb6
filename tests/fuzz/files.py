"""What comes as a file: weights, graphs, indices, archives, sound, curves, presets, settings.

Law, besides that of every case: no file is run, and none is written but where it should.
"""

import json
import random
import shutil
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.engine import Broken, Play, one_by_one
from fuzz.mutate import NUMBERS, RAW, TEXTS, damaged, nearly, spoiled

from clients.presets import Presets
from offline.cover.settings import read_settings
from offline.curve import read_curve
from offline.effects import presets
from offline.separate import chains
from server.settings import load_config
from server.tokens import read_tokens
from stream.errors import TimbralError
from stream.files import SoundFile
from stream.importer import foreign
from stream.importer.archive import is_archive, look, unpack
from stream.importer.indices import inspect_index
from stream.importer.recognise import recognise
from stream.importer.tensors import read_tensors
from stream.models.voice import read_card

CORPUS = Path(__file__).parent / "corpus"
MOST_S = 5.0  # for one file, on a busy machine
RUNS = frozenset(  # what Python does on behalf of a file that is run
    {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class"}
    | {"exec", "compile", "import", "socket.connect", "shutil.rmtree"}
)
TRAPS = (  # pickles that would run something
    b"cos\nsystem\n(S'true'\ntR.",
    b"\x80\x02cbuiltins\neval\nq\x00X\x03\x00\x00\x001+1\x85R.",
    b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(ctorch\nload\nX\x01\x00\x00\x00atR.",
    b"(ios\nsystem\nS'true'\n.",
)
Read = Callable[[Path], str]


class Watch:
    """Raises when something is run while it is armed. One for the process: it cannot be removed."""

    def __init__(self) -> None:
        self.armed = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.armed and event in RUNS:
            self.armed = False
            raise Broken(f"{event} {args}"[:300])


def weights(path: Path) -> str:
    """As `timbral voices add` reads a file of weights."""
    file = read_tensors(path)
    held = sum(value.nbytes for value in file.tensors.values())
    if held > 8 * path.stat().st_size:
        raise Broken(f"{held} bytes of tensors in {path.stat().st_size}")
    recognise(file)
    return "read"


def graph(path: Path) -> str:
    """As it reads somebody's ONNX file."""
    foreign.recognise(path)
    return "read"


def index(path: Path) -> str:
    """As it looks into an index; what passes is one that faiss reads to the same size."""
    import faiss

    facts = inspect_index(path)
    held = faiss.read_index(str(path))
    if (held.ntotal, held.d) != (facts.rows, facts.dim):
        raise Broken(f"faiss finds {held.ntotal} rows of {held.d}, not {facts}")
    return "read"


def archive(path: Path) -> str:
    """As it unpacks an archive: nothing outside the folder, nothing larger than was said."""
    if not is_archive(path):
        return "no archive"
    into = path.with_name("into")
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    unpack(path, into)
    look(into)
    return "read"


def sound(path: Path) -> str:
    """As a file is read that is to be converted: at most so much of it, and only numbers."""
    for count, block in enumerate(SoundFile(path)):
        if not np.isfinite(block).all():
            raise Broken("samples that are no numbers")
        if count > 50:
            return "long"
    return "read"


def curve(path: Path) -> str:
    """As a pitch curve is read."""
    found = read_curve(path)
    fine = np.isfinite(found.hz).all() and (found.hz >= 0.0).all()
    if not fine or not (np.diff(found.times) > 0.0).all() or not np.isfinite(found.times).all():
        raise Broken(f"{found}")
    return "read"


def preset(path: Path) -> str:
    """As presets are taken in; what was taken is read again as it was."""
    held = Presets(path.parent / "presets")
    for each in held.add(path):
        if held.load(each.name) != each:
            raise Broken(f"{each}")
    return "read"


def settings(path: Path) -> str:
    """As the server's settings are read."""
    load_config(path, {}, {})
    return "read"


def cover(path: Path) -> str:
    """As a cover's settings are read."""
    read_settings(path)
    return "read"


def effects(path: Path) -> str:
    """As a preset of effects is read."""
    presets.read(path)
    return "read"


def chain(path: Path) -> str:
    """As a chain of separators is read."""
    chains.chain_of(str(path))
    return "read"


def tokens(path: Path) -> str:
    """As the file of tokens is read."""
    read_tokens(path)
    return "read"


def card(path: Path) -> str:
    """As a bundle's card is read."""
    read_card(path.parent)
    return "read"


KINDS: tuple[tuple[int, Read, tuple[str, ...], str], ...] = (
    # weight, reader, what of the corpus is damaged for it, the name it then gets
    (14, weights, ("new.pth", "old.pth", "voice.safetensors", "voice.zip"), "a.pth"),
    (1, graph, ("voice.onnx",), "a.onnx"),
    (5, index, ("flat.index", "lists.index"), "a.index"),
    (4, archive, ("voice.zip", "new.pth"), "a.zip"),
    (5, sound, ("int.wav", "float.wav", "law.wav", "tone.flac", "tone.ogg", "tone.mp3"), "a.wav"),
    (6, curve, ("curve.csv", "praat.tsv"), "a.csv"),
    (4, curve, ("curve.json", "columns.json"), "a.json"),
    (5, preset, ("presets.json", "preset.json"), "a.json"),
    (5, settings, ("server.toml",), "a.toml"),
    (2, cover, ("server.toml",), "a.toml"),
    (2, effects, ("effects.toml",), "a.toml"),
    (1, chain, ("chain.toml",), "a.toml"),
    (4, tokens, ("tokens.json",), "a.json"),
    (4, card, ("voice.json",), "voice.json"),
)


@contextmanager
def files(folder: Path) -> Generator[Play]:
    """Files of all kinds, nearly as they should be."""
    held = {path.name: path.read_bytes() for path in CORPUS.iterdir()}
    chances = [chance for chance, *_ in KINDS]
    watch = Watch()
    for _, read, names, name in KINDS:  # what is imported when it is needed, is by then
        target = folder / name
        target.write_bytes(held[names[0]])
        attempt(read, target)

    def case(draw: random.Random) -> str:
        _, read, names, name = draw.choices(KINDS, chances)[0]
        target = folder / name
        target.write_bytes(made(draw, [held[each] for each in names], name))
        watch.armed = read is weights
        try:
            return f"{read.__name__} {attempt(read, target)}"
        finally:
            watch.armed = False

    yield one_by_one(case, MOST_S)


def attempt(read: Read, path: Path) -> str:
    """What became of it; an error of ours is a refusal, and says what to do."""
    try:
        return read(path)
    except TimbralError as error:
        if not str(error).strip():
            raise Broken("an error without a text") from error
        return "refused"


def made(draw: random.Random, originals: Sequence[bytes], name: str) -> bytes:
    """The bytes of a case."""
    data = draw.choice(originals)
    if draw.random() < 0.02:
        return draw.randbytes(draw.choice((0, 1, 8, 100, 3000)))
    if name.endswith(".pth") and draw.random() < 0.15:
        return damaged(draw, draw.choice(TRAPS), originals)
    if name.endswith(".json") and draw.random() < 0.7:
        text = nearly(draw, json.loads(data))
        return (spoiled(draw, text) if draw.random() < 0.3 else text).encode("utf-8", "replace")
    if name.endswith((".csv", ".toml")) and draw.random() < 0.5:
        return lines(draw, data.decode()).encode("utf-8", "replace")
    return damaged(draw, data, originals)


def lines(draw: random.Random, text: str) -> str:
    """Lines with some of their words replaced by what a number or a text should not be."""
    out = text.splitlines()
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(out))
        cut = draw.choice([sign for sign in "=,\t" if sign in out[at]] or [" "])
        words = out[at].split(cut)
        deep = draw.choice((3, 200, 3000))
        words[draw.randrange(len(words))] = draw.choice(
            (draw.choice(NUMBERS), draw.choice(TEXTS), draw.choice(RAW), "[" * deep, "~nobody/x")
        )
        out[at] = cut.join(words)
    return "\n".join(out) + "\n"
