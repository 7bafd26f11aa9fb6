"""The plan of a cover: which steps, in which order, and what each depends on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

from offline.convert import convert, pitch_of, settled
from offline.cover.mixdown import Parts, mixdown
from offline.cover.plan import Plan, Progress, Task, step_after
from offline.cover.settings import CoverSettings, Separation
from offline.cover.song import Song, read
from offline.cover.tools import Tools, package_versions
from offline.curve import Curve, read_curve, write_curve
from offline.judge.similarity import MODEL as SPEAKER
from offline.separate.files import separate
from stream.controls import Controls
from stream.models.digest import sha256 as file_digest
from stream.models.speaker import CARD as SPEAKER_CARD

# Of the code of each step: raised when the same inputs come to give another result.
VERSIONS = {
    "read": 1,
    "separate": 1,
    "f0": 1,
    "convert": 1,
    "effects": 1,
    "key": 1,
    "mix": 1,
    "look": 1,
    "judge": 1,
}
SONG, CURVE, VOICE, MIX = "song.wav", "f0.csv", "voice.wav", "mix.wav"
LOOK, PITCH_AFTER, JUDGE = "look at ", "f0 of the new voice", "judge"  # tasks of a report
DETECTING = ("f0_methods", "f0_blend")  # controls that the step f0 uses, and convert does not
SHIFT_PACKAGES, EFFECT_PACKAGES = ("python-stretch",), ("pedalboard",)


@dataclass(frozen=True)
class Stem:
    """A file that a task makes."""

    task: Task
    file: str

    def of(self, folders: Mapping[str, Path]) -> Path:
        """Where it lies."""
        return folders[self.task.name] / self.file


class Recipe:
    """Puts the plan of one song's cover together; see `plan_cover`."""

    def __init__(self, song: Song, settings: CoverSettings, tools: Tools) -> None:
        self.song, self.settings, self.tools = song, settings, tools
        self.tasks: list[Task] = []

    def add(self, task: Task) -> Task:
        """The task, now part of the plan."""
        self.tasks.append(task)
        return task

    def read(self) -> Stem:
        """The song as floats, in stereo."""
        song = self.song
        rate: dict[str, object] = {"rate": song.rate}
        step = step_after("read", VERSIONS["read"], rate, (), inputs=(song.digest,))

        def build(_folders: Mapping[str, Path], out: Path, progress: Progress) -> None:
            read(song, out / SONG, progress)

        return Stem(self.add(Task("read", step, (), build, "decode the song")), SONG)

    def apart(self, name: str, source: Stem, wanted: Separation, says: str) -> tuple[Stem, Stem]:
        """What is wanted of `source`, and the rest of it."""
        separator = self.tools.open_separator(wanted)
        step = step_after(
            "separate", VERSIONS["separate"], {}, (source.task,),
            inputs=(source.file,), models=(separator.digest,),
        )  # fmt: skip

        def build(folders: Mapping[str, Path], out: Path, progress: Progress) -> None:
            separate(source.of(folders), out, separator, suffix=".wav", progress=progress)

        says = f"{says}, by {', '.join(wanted.models)}"
        task = self.add(Task(name, step, (source.task.name,), build, says))
        return Stem(task, f"{separator.target}.wav"), Stem(task, f"{separator.rest}.wav")

    def pitch(self, name: str, source: Stem, given: Curve | None = None) -> Stem:
        """The pitch of what is sung in `source`, detected or `given`."""
        controls = self.settings.controls
        if given is not None:
            said = sha256(given.times.tobytes() + given.hz.tobytes()).hexdigest()
            step = step_after("f0-given", VERSIONS["f0"], {}, (), inputs=(said,))

            def write(_folders: Mapping[str, Path], out: Path, _progress: Progress) -> None:
                write_curve(out / CURVE, given)

            return Stem(self.add(Task(name, step, (), write, "take the pitch given")), CURVE)
        methods = controls.f0_methods
        step = step_after(
            "f0", VERSIONS["f0"], {"methods": methods, "blend": controls.f0_blend},
            (source.task,), inputs=(source.file,),
            models=tuple(map(self.tools.detector_digest, methods)),
        )  # fmt: skip

        def build(folders: Mapping[str, Path], out: Path, progress: Progress) -> None:
            detectors = self.tools.detectors()
            write_curve(out / CURVE, pitch_of(source.of(folders), detectors, controls, progress))

        says = f"detect the pitch, by {', '.join(methods)}"
        return Stem(self.add(Task(name, step, (source.task.name,), build, says)), CURVE)

    def sing(self, name: str, voice: str, source: Stem, pitch: Stem) -> Stem:
        """`source` in another voice, along `pitch`, in the song's new key."""
        settings, tools, rate = self.settings, self.tools, self.song.rate
        controls = settings.controls
        said = {k: v for k, v in asdict(controls).items() if k not in DETECTING}
        step = step_after(
            "convert", VERSIONS["convert"],
            {"controls": said, "seed": settings.seed, "key": settings.key, "rate": rate},
            (source.task, pitch.task), inputs=(source.file, pitch.file),
            models=tools.voice_digests(voice),
        )  # fmt: skip

        def build(folders: Mapping[str, Path], out: Path, progress: Progress) -> None:
            loaded = tools.voice(voice)
            curve = read_curve(pitch.of(folders))
            wanted = moved(settled(controls, curve, loaded, keep_key=True), settings.key)
            convert(
                source.of(folders), out / VOICE, loaded, controls=wanted, seed=settings.seed,
                curve=curve, channels="placed", rate=rate, subtype="FLOAT", progress=progress,
            )  # fmt: skip

        needs = (source.task.name, pitch.task.name)
        return Stem(self.add(Task(name, step, needs, build, f"sing it as {voice}")), VOICE)

    def effects(self, name: str, source: Stem, preset: str) -> Stem:
        """`source` through a chain of effects; without a preset `source` itself."""
        if not preset:
            return source
        from offline.effects.presets import Presets

        chain = Presets(self.tools.store.home / "effects").load(preset)
        versions: dict[str, object] = {"packages": package_versions(EFFECT_PACKAGES)}
        said = versions | {"chain": chain.model_dump(mode="json")}
        files = tuple(file_digest(path) for path in chain.files())
        step = step_after(
            "effects", VERSIONS["effects"], said, (source.task,), inputs=(source.file, *files)
        )

        def build(folders: Mapping[str, Path], out: Path, progress: Progress) -> None:
            from offline.effects.apply import apply

            apply(source.of(folders), out / VOICE, chain, progress)

        task = Task(name, step, (source.task.name,), build, f"effects: {Path(preset).stem}")
        return Stem(self.add(task), VOICE)

    def key(self, name: str, source: Stem, *, sung: bool) -> Stem:
        """`source` in the song's new key; in the old one `source` itself."""
        semitones = self.settings.key
        if not semitones:
            return source
        said = {"semitones": semitones, "sung": sung, "by": package_versions(SHIFT_PACKAGES)}
        step = step_after("key", VERSIONS["key"], said, (source.task,), inputs=(source.file,))

        def build(folders: Mapping[str, Path], out: Path, progress: Progress) -> None:
            from offline.keyshift import shift

            shift(source.of(folders), out / source.file, semitones, sung, progress)

        says = f"move by {semitones:+d} semitones"
        return Stem(self.add(Task(name, step, (source.task.name,), build, says)), source.file)

    def mix(self, song: Stem, parts: "Parts[Stem]") -> Task:
        """Everything together."""
        settings = self.settings
        stems = [song, *parts.all]
        said = {
            "voice_db": settings.voice_db,
            "backing_db": settings.backing_db,
            "band_db": settings.band_db,
            "lufs": settings.lufs,
            "ceiling_db": settings.ceiling_db,
            "files": [stem.file for stem in stems],
        }
        tasks = tuple(stem.task for stem in stems)
        step = step_after("mix", VERSIONS["mix"], said, tasks)

        def build(folders: Mapping[str, Path], out: Path, progress: Progress) -> None:
            files = parts.each(lambda stem: stem.of(folders))
            mixdown(song.of(folders), files, settings, out / MIX, progress)

        needs = tuple(dict.fromkeys(task.name for task in tasks))
        return self.add(Task("mix", step, needs, build, "mix"))

    def look(self, name: str, source: Stem) -> Task:
        """What a report shows of `source`; the task is called after `name`."""
        step = step_after("look", VERSIONS["look"], {}, (source.task,), inputs=(source.file,))

        def build(folders: Mapping[str, Path], out: Path, progress: Progress) -> None:
            from offline.cover.look import look

            look(source.of(folders), out, progress)

        return self.add(Task(LOOK + name, step, (source.task.name,), build, "look at it"))

    def judge(self, old: Stem, new: Stem, before: Stem, after: Stem) -> Task:
        """The old voice and the new one, with the pitch of both, and the new one's own preview."""
        store = self.tools.store
        preview = store.preview(self.settings.voice)
        card = store.home / "models" / SPEAKER / SPEAKER_CARD
        models = tuple(file_digest(path) for path in (preview, card) if path and path.is_file())
        stems = (old, new, before, after)
        step = step_after(
            "judge", VERSIONS["judge"], {"files": [stem.file for stem in stems]},
            tuple(stem.task for stem in stems), models=models,
        )  # fmt: skip

        def build(folders: Mapping[str, Path], out: Path, _progress: Progress) -> None:
            from offline.cover.judge import judge

            files = (old.of(folders), new.of(folders))
            judge(files, (before.of(folders), after.of(folders)), preview, store.home, out)

        needs = tuple(dict.fromkeys(stem.task.name for stem in stems))
        return self.add(Task(JUDGE, step, needs, build, "judge the new voice"))


def plan_cover(
    song: Song,
    settings: CoverSettings,
    tools: Tools,
    *,
    given: Curve | None = None,
    report: bool = False,
) -> Plan:
    """The plan of a cover; "mix" is the goal.

    given   what is sung, over the song's time, instead of what a detector hears in it
    report  plan what a report shows as well: the tasks in `looks`

    Law: what a step makes depends on its key alone: on the song's sound, the settings that it
    uses, the models and the version of its code. Raises what is known to be missing beforehand:
    `VoiceError`, `ModelError`, `ConfigError`.
    """
    recipe = Recipe(song, settings, tools)
    whole = recipe.read()
    voice, band = recipe.apart("separate", whole, settings.separate, "take the voice out")
    backing: Stem | None = None
    if settings.lead:
        voice, backing = recipe.apart("lead", voice, settings.lead, "lead from backing")
    if settings.dereverb:
        voice, _ = recipe.apart("dereverb", voice, settings.dereverb, "take the reverb off")
    if settings.denoise:
        voice, _ = recipe.apart("denoise", voice, settings.denoise, "take the noise off")
    band = recipe.key("key-band", band, sung=False)
    pitch = recipe.pitch("f0", voice, given)
    sung_anew = recipe.sing("convert", settings.voice, voice, pitch)
    new = recipe.effects("effects", sung_anew, settings.effects)
    old_backing = new_backing = backing
    if backing and settings.backing_voice:
        low = recipe.pitch("f0-backing", backing)
        sung = recipe.sing("convert-backing", settings.backing_voice, backing, low)
        new_backing = recipe.effects("effects-backing", sung, settings.backing_effects)
    elif backing:
        new_backing = recipe.key("key-backing", backing, sung=True)
    mix = recipe.mix(whole, Parts(voice, new, band, old_backing, new_backing))
    if report:
        stems = {"the song": whole, "its voice": voice, "the new voice": new, "the band": band}
        if new_backing:
            stems["the backing"] = new_backing
        for name, stem in (stems | {"the cover": Stem(mix, MIX)}).items():
            recipe.look(name, stem)
        after = recipe.pitch(PITCH_AFTER, sung_anew)
        recipe.judge(voice, sung_anew, pitch, after)
    return Plan(tuple(recipe.tasks))


def looks(plan: Plan) -> tuple[str, ...]:
    """The tasks that are for a report only."""
    return tuple(n for n in plan.names if n.startswith(LOOK) or n in (PITCH_AFTER, JUDGE))


def moved(controls: Controls, semitones: int) -> Controls:
    """The same, that much higher; an octave nearer where that would leave the range."""
    pitch = controls.pitch + semitones
    pitch -= 12.0 if pitch > 24.0 else -12.0 if pitch < -24.0 else 0.0
    return replace(controls, pitch=pitch)
