"""From a trained network to an installed voice: exported, compared, indexed, heard; or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from offline.train import narrow
from offline.train.data import Example
from offline.train.index import Made, make_index
from offline.train.live import judged, preview
from offline.train.narrow import NOISE_SCALE
from offline.train.parity import Parity, Reference, check, compare
from offline.train.rvc.speak import speak as speak_rvc
from offline.train.story import Story, write_story
from offline.train.synth import Synthesizer, SynthShape
from offline.train.synth_export import export_synth, spread_pitches
from offline.train.warm import keep_scale
from offline.train.work import Array, Work, checkpoint_of, heard_pitch, work_of
from stream.audio import Audio
from stream.device import CPU
from stream.errors import ConfigError
from stream.excitation import Sine
from stream.importer.checkpoint import RvcShape
from stream.importer.graphs import nsf
from stream.importer.install import installing
from stream.importer.voices import F0_RANGE, NAME, PRIOR_SPREAD
from stream.models.digest import sha256
from stream.models.f0 import Detectors
from stream.models.nsf import MOST_CONTEXT, NsfSynthesizer
from stream.models.store import Store
from stream.models.synth import StudentSynthesizer
from stream.models.voice import CARD, INDEX, PREVIEW, SYNTH, VoiceCard, load_voice
from stream.noise import frame_noise
from stream.pitch import coarse

if TYPE_CHECKING:
    from offline.train.trained import Trained

Progress = Callable[[int, int], None]  # steps done, steps in all

STEPS: Final = 6  # exported, compared, indexed, loaded, heard, installed
STORY: Final = "card.md"
COMPARED: Final = 200  # frames of 10 ms said for the comparison with torch
EDGE: Final = 16  # frames at the end of RVC's decoder that hear what follows


def finish(
    trained: Trained,
    *,
    store: Store,
    name: str,
    consent: str,
    licence: str,
    replace: bool = False,
    progress: Progress = lambda done, total: None,
) -> VoiceCard:
    """Make what `trained` is at its step a voice in the store; see `install`."""
    return install(
        work_of(trained, store.home),
        store=store,
        name=name,
        consent=consent,
        licence=licence,
        replace=replace,
        progress=progress,
    )


def install(
    work: Work,
    *,
    store: Store,
    name: str,
    consent: str,
    licence: str,
    replace: bool = False,
    progress: Progress = lambda done, total: None,
) -> VoiceCard:
    """Make a voice of `work` in the store; its card.

    replace  whether a voice of that name may be put aside, as when another step is exported

    Laws: a voice that the store lists afterwards is whole, and says what the trained network says
    (`parity`); on any error the store is as before. Raises `ConfigError` for a name that is taken
    or none, `BadExport` when the comparison fails, `AssetMissing` without the encoder.
    """
    check_name(name, store, replace)
    encoder = store.encoder(work.encoder, CPU, needed_by=f"Voice '{name}'")
    f0_hz = heard_pitch(work.training)
    with installing(store.home / "voices" / name) as folder:
        about = _export(work, folder, f0_hz)
        progress(1, STEPS)
        parity = check(_compared(work, folder, about, f0_hz))
        progress(2, STEPS)
        rows = (_content(clip.load()) for clip in work.training)
        index = make_index(rows, folder / INDEX)
        progress(3, STEPS)
        card = _card(work, name, consent, licence, f0_hz, about, index, parity)
        card = _listed(card, folder)
        voice = load_voice(folder, encoder, Detectors(store.home), CPU)
        progress(4, STEPS)
        preview(voice, work, folder / PREVIEW)
        installed, missing = judged(voice, work, store.home)
        progress(5, STEPS)
        story = Story(
            name=name,
            family=work.family,
            step=work.step,
            sample_rate=card.sample_rate,
            encoder=work.encoder,
            consent=consent,
            licence=licence,
            facts=work.facts,
            history=work.history,
            installed=installed,
            parity=parity,
            index=index,
            recipe=work.recipe,
            f0_hz=f0_hz,
            missing=missing,
        )
        (folder / STORY).write_text(write_story(story), "utf-8")
        card = _listed(card, folder)
    progress(STEPS, STEPS)
    return card


def check_name(name: str, store: Store, replace: bool = False) -> None:
    """Raises `ConfigError` for what cannot be the name of a new voice."""
    taken = name in store.names()
    ships = taken and not (store.home / "voices" / name).is_dir()
    if not NAME.fullmatch(name) or ships:
        raise ConfigError(
            f"{name!r} cannot be a voice's name: lower-case letters, digits, - and _, "
            "64 at most, the first a letter or digit, and none that comes with timbral."
        )
    if taken and not replace:
        raise ConfigError(
            f"There is a voice '{name}' already. Choose another name, "
            f"or remove it first: timbral voices remove {name}"
        )


def _export(work: Work, folder: Path, f0_hz: tuple[float, float, float]) -> Mapping[str, int]:
    """Write the graphs; how many samples `late` they are, and `latent` channels."""
    if isinstance(work.shape, RvcShape):
        checkpoint = checkpoint_of(work, f0_hz[1])
        nsf.write(checkpoint, folder)
        return nsf.about(checkpoint)
    export_synth(_narrow(work, f0_hz), folder / SYNTH)
    if work.scale is not None:
        keep_scale(folder / SYNTH, work.scale)
    return {"latent": work.shape.latent, "late": 0}


def _narrow(work: Work, f0_hz: tuple[float, float, float]) -> Synthesizer:
    """The trained network; pitches that it never heard get the embedding of the nearest."""
    assert isinstance(work.shape, SynthShape)
    synth = Synthesizer(work.shape)
    synth.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in work.weights.items()})
    lowest, highest = coarse(np.array([f0_hz[0], f0_hz[2]], np.float32))
    spread_pitches(synth, int(lowest), int(highest))
    return synth.eval()


def _compared(
    work: Work, folder: Path, about: Mapping[str, int], f0_hz: tuple[float, float, float]
) -> Parity:
    """What torch, ONNX Runtime and a stream say of a clip of the voice's own."""
    clip = max([*work.held_out, *work.training], key=lambda each: min(each.seconds, 4.0)).load()
    voiced = np.flatnonzero(clip.f0)
    first = int(voiced[0]) // 2 * 2 if len(voiced) else 0
    spoken = slice(first, first + COMPARED)
    features, f0 = clip.features[spoken], clip.f0[spoken]
    shape = work.shape
    if isinstance(shape, SynthShape):
        return _narrow_parity(work, folder, shape, f0_hz, features, f0)
    nsf_synth = NsfSynthesizer(
        folder,
        dim=shape.dim,
        latent=shape.inter,
        hop=shape.hop,
        late=about["late"],
        f0=shape.f0,
        noise_scale=PRIOR_SPREAD,
        device=CPU,
    )
    said = _rvc_reference(work, shape)
    return compare(nsf_synth, said, features, f0, shape.hop, window=MOST_CONTEXT, edge=EDGE)


def _narrow_parity(
    work: Work,
    folder: Path,
    shape: SynthShape,
    f0_hz: tuple[float, float, float],
    features: Audio,
    f0: Audio,
) -> Parity:
    """Of the graph as it is kept; whether it is the right one, of its like before rounding."""
    network = _narrow(work, f0_hz)
    exact = folder / "exact.onnx"
    export_synth(network, exact, eight_bit=False)
    found: list[Parity] = []
    for path in (exact, folder / SYNTH):
        synth = StudentSynthesizer(
            path,
            dim=shape.features,
            latent=shape.latent,
            hop=shape.hop,
            noise_scale=NOISE_SCALE,
            device=CPU,
        )
        said: Reference = lambda x, f, seed: narrow.speak(network, x, f, seed)  # noqa: E731
        found.append(compare(synth, said, features, f0, shape.hop))
    exact.unlink()
    return Parity(found[0].export_db, found[1].stream_db, found[1].export_db)


def _rvc_reference(work: Work, shape: RvcShape) -> Reference:
    def said(features: Audio, f0: Audio, seed: int) -> Audio:
        noise = frame_noise(seed, 0, len(f0), shape.inter) * np.float32(PRIOR_SPREAD)
        source = Sine(shape.sample_rate, shape.hop, seed).step(f0, 0, len(f0))
        return speak_rvc(
            work.weights,
            shape,
            phone=features,
            pitch=coarse(f0),
            noise=noise,
            source=source.ravel(),
        )

    return said


def _content(example: Example) -> Array:
    """Content features as the index has them, once for every 20 ms: [T / 2, dim]."""
    return np.asarray(example.features[::2], np.float32)


def _card(
    work: Work,
    name: str,
    consent: str,
    licence: str,
    f0_hz: tuple[float, float, float],
    about: Mapping[str, int],
    index: Made,
    parity: Parity,
) -> VoiceCard:
    shape = work.shape
    is_narrow = isinstance(shape, SynthShape)
    minutes = float(work.facts.get("training_minutes", 0.0))
    return VoiceCard(
        name=name,
        description=f"Trained here on {minutes:.1f} minutes of {', '.join(work.speakers)}"[:200],
        kind="student" if is_narrow else "nsf",
        rvc_version="v1" if is_narrow else shape.version,
        sample_rate=shape.sample_rate,
        speakers=work.speakers,
        encoder=work.encoder,
        feature_dim=shape.features if is_narrow else shape.dim,
        latent=about["latent"],
        late=about["late"],
        f0=is_narrow or shape.f0,
        noise_scale=NOISE_SCALE if is_narrow else PRIOR_SPREAD,
        f0_median_hz=f0_hz[1],
        f0_min_hz=F0_RANGE[0],
        f0_max_hz=F0_RANGE[1],
        licence=licence,
        consent=consent,
        source="timbral train",
        about={
            "family": work.family,
            "steps": str(work.step),
            "minutes": f"{minutes:.1f}",
            "recipe": work.recipe,
            "pitch": f"{f0_hz[0]:.0f} to {f0_hz[2]:.0f} Hz",
            "index": index.told,
            "parity": parity.told,
        },
        files={},
    )


def _listed(card: VoiceCard, folder: Path) -> VoiceCard:
    """The card with every file in `folder`, written there."""
    files = {p.name: sha256(p) for p in sorted(folder.iterdir()) if p.name != CARD}
    listed = card.model_copy(update={"files": files})
    (folder / CARD).write_text(listed.model_dump_json(indent=2) + "\n", "utf-8")
    return listed
