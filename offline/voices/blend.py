"""New voices out of old ones: weighted sums, and what makes one differ from another added."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline.convert import convert
from offline.train.index import make_index
from stream.audio import Audio
from stream.device import CPU
from stream.errors import AssetMissing, ConfigError
from stream.files import SoundFile
from stream.importer.indices import inspect_index
from stream.importer.install import installing
from stream.importer.mixture import write_mixture
from stream.importer.voices import NAME
from stream.models.digest import sha256
from stream.models.f0 import Detectors
from stream.models.nsf import DECODER, PRIOR
from stream.models.store import Store
from stream.models.voice import CARD, INDEX, PREVIEW, SYNTH, VoiceCard, load_voice, verify

Progress = Callable[[int, int], None]  # steps done, steps in all

STORY: Final = "card.md"
MUST_AGREE: Final = (  # of the cards: what the parents' networks must have in common
    *("kind", "rvc_version", "sample_rate", "encoder", "feature_dim"),
    *("latent", "late", "f0", "unvoiced"),
)
STEPS: Final = 3  # mixed, indexed, heard
SILENT: Final = 1e-4  # peak, full scale 1; the engine makes silence of what is no number


@dataclass(frozen=True)
class Part:
    """A voice and how much of it; negative: what is taken away."""

    name: str
    share: float


def weighted(names: Sequence[str], weights: Sequence[float] | None) -> list[Part]:
    """A weighted sum: shares of all, brought to a sum of 1; equal ones without `weights`.

    >>> weighted(["a", "b"], [3, 1])
    [Part(name='a', share=0.75), Part(name='b', share=0.25)]
    """
    given = list(weights) if weights else [1.0] * len(names)
    if len(given) != len(names):
        raise ConfigError(f"There are {len(names)} voices and {len(given)} weights.")
    if not all(math.isfinite(w) and w >= 0.0 for w in given) or sum(given) <= 0.0:
        raise ConfigError("Weights are 0 or more, and one of them is more than 0.")
    return [Part(n, w / sum(given)) for n, w in zip(names, given, strict=True)]


def added(name: str, more: str, less: str, amount: float = 1.0) -> list[Part]:
    """`name` with `amount` of what makes `more` differ from `less`: A + a (B - C)."""
    if not math.isfinite(amount) or abs(amount) > 4.0:
        raise ConfigError(f"--amount lies between -4 and 4, got {amount:g}.")
    return [Part(name, 1.0), Part(more, amount), Part(less, -amount)]


def blend(
    parts: Sequence[Part],
    name: str,
    store: Store,
    *,
    progress: Progress = lambda done, total: None,
) -> VoiceCard:
    """Add the voice `name` to the store, mixed of `parts`; its card.

    Laws: a share of 1 gives that voice's numbers; the store holds the new voice whole, or is as it
    was. Raises `ConfigError` for voices whose networks do not fit, and for a name that is taken,
    `VoiceNotFound` and `BadBundle`.
    """
    if len({part.name for part in parts}) < 2:
        raise ConfigError("A blend needs two different voices at least.")
    _check_name(name, store)
    cards = [store.card(part.name) for part in parts]
    folders = [store.folder(part.name) for part in parts]
    _check_fit(cards)
    for card, folder in zip(cards, folders, strict=True):
        verify(folder, card.files)
    with installing(store.home / "voices" / name) as beside:
        for graph in (PRIOR, DECODER) if cards[0].kind == "nsf" else (SYNTH,):
            paths = [folder / graph for folder in folders]
            write_mixture(paths, [part.share for part in parts], beside / graph)
        progress(1, STEPS)
        _merge_index(parts, cards, folders, beside / INDEX)
        progress(2, STEPS)
        card = _card(name, parts, cards)
        (beside / STORY).write_text(_story(card, parts, cards), "utf-8")
        card = _listed(card, beside)
        if _hear(beside, folders[0], store, card):
            card = _listed(card, beside)
    progress(STEPS, STEPS)
    return card


def _check_name(name: str, store: Store) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be a voice's name: lower-case letters, digits, - and _, 64 at most."
        )
    if name in store.names():
        raise ConfigError(
            f"There is a voice '{name}' already. Choose another name (--name), "
            f"or remove it first: timbral voices remove {name}"
        )


def _check_fit(cards: Sequence[VoiceCard]) -> None:
    first = cards[0]
    if first.kind == "blackbox":
        raise ConfigError(
            f"'{first.name}' is somebody's ONNX file, which cannot be mixed. Add the .pth file."
        )
    for card in cards[1:]:
        for key in MUST_AGREE:
            one, other = getattr(first, key), getattr(card, key)
            if one != other:
                raise ConfigError(
                    f"'{first.name}' and '{card.name}' cannot be mixed: their {key} differs "
                    f"({one} and {other})."
                )


def _merge_index(
    parts: Sequence[Part], cards: Sequence[VoiceCard], folders: Sequence[Path], target: Path
) -> None:
    """An index of rows of all that are added, as many of each as its share says.

    Without one of them there is none: the voice that lacks it would never be heard in it.
    """
    given = [(p, f) for p, f in zip(parts, folders, strict=True) if p.share > 0.0]
    if not all(INDEX in c.files for p, c in zip(parts, cards, strict=True) if p.share > 0.0):
        return
    rows = [_rows(folder / INDEX) for _, folder in given]
    total = sum(part.share for part, _ in given)
    shares = [part.share / total for part, _ in given]
    most = min(len(held) / share for held, share in zip(rows, shares, strict=True))
    chance = np.random.default_rng(0)
    chosen = [
        held[np.sort(chance.permutation(len(held))[: max(1, round(most * share))])]
        for held, share in zip(rows, shares, strict=True)
    ]
    make_index(chosen, target)


def _rows(path: Path) -> Audio:
    """[rows, columns] of an index that was looked into first."""
    import faiss

    inspect_index(path)
    index: Any = faiss.read_index(str(path))
    return np.asarray(index.reconstruct_n(0, index.ntotal), np.float32)


def formula(parts: Sequence[Part]) -> str:
    """The parts as text.

    >>> formula([Part("a", 1.0), Part("b", 0.5), Part("c", -0.5)])
    '1 a + 0.5 b - 0.5 c'
    """
    text = ""
    for part in parts:
        sign = (" - " if part.share < 0 else " + ") if text else ("-" if part.share < 0 else "")
        text += f"{sign}{abs(part.share):.3g} {part.name}"
    return text


def _card(name: str, parts: Sequence[Part], cards: Sequence[VoiceCard]) -> VoiceCard:
    first = cards[0]
    medians = [card.f0_median_hz for card in cards]
    median = None
    if all(medians):
        logs = [p.share * math.log(m) for p, m in zip(parts, medians, strict=True) if m]
        median = min(max(math.exp(sum(logs)), first.f0_min_hz), first.f0_max_hz)
    speakers = min(len(card.speakers) for card in cards)
    spread = sum(p.share * c.noise_scale for p, c in zip(parts, cards, strict=True))
    return first.model_copy(
        update={
            "name": name,
            "description": f"A blend: {formula(parts)}"[:200],
            "speakers": first.speakers[:speakers],
            "noise_scale": min(max(spread, 0.0), 1.0),
            "f0_median_hz": median,
            "f0_min_hz": min(card.f0_min_hz for card in cards),
            "f0_max_hz": max(card.f0_max_hz for card in cards),
            "licence": _joined(cards, "licence"),
            "consent": _joined(cards, "consent"),
            "source": "timbral voices blend",
            "about": {
                "parents": formula(parts),
                **{f"parent {c.name}": _identity(c) for c in cards},
            },
            "files": {},
        }
    )


def _identity(card: VoiceCard) -> str:
    """What tells which voice of that name it was."""
    graph = card.files.get(SYNTH, card.files.get(DECODER, ""))
    return f"{card.source[:120]} (sha256 {graph[:16]})"


def _joined(cards: Sequence[VoiceCard], key: str) -> str:
    said = {card.name: str(getattr(card, key)) for card in cards}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{name}: {text}" for name, text in said.items())


def _story(card: VoiceCard, parts: Sequence[Part], cards: Sequence[VoiceCard]) -> str:
    lines = [f"# {card.name}", "", f"A blend of voices: {formula(parts)}.", ""]
    for parent in {card.name: card for card in cards}.values():
        lines += [f"## {parent.name}", "", f"- {_identity(parent)}"]
        lines += [f"- Licence: {parent.licence}", f"- Consent: {parent.consent}", ""]
    lines.append("Whoever uses this voice is bound by the licences and consents of all of them.")
    return "\n".join(lines) + "\n"


def _listed(card: VoiceCard, folder: Path) -> VoiceCard:
    """The card with every file in `folder`, written there."""
    files = {p.name: sha256(p) for p in sorted(folder.iterdir()) if p.name != CARD}
    listed = card.model_copy(update={"files": files})
    (folder / CARD).write_text(listed.model_dump_json(indent=2) + "\n", "utf-8")
    return listed


def _hear(folder: Path, parent: Path, store: Store, card: VoiceCard) -> bool:
    """Load the voice and let it say its first parent's preview; whether there is one now.

    Where its encoder is not installed it cannot speak here yet, and has no preview.
    """
    try:
        encoder = store.encoder(card.encoder, CPU, needed_by=f"Voice '{card.name}'")
    except AssetMissing:
        return False
    voice = load_voice(folder, encoder, Detectors(store.home), CPU)
    source = parent / PREVIEW
    if not source.is_file():
        return False
    convert(source, folder / PREVIEW, voice)
    if np.abs(SoundFile(folder / PREVIEW).read()).max() < SILENT:
        raise ConfigError(
            f"{card.description} is silent: these voices are too far apart to be mixed. "
            "Voices that were trained from one base can be."
        )
    return True
