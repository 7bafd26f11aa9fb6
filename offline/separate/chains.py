"""Several separations in a row: the voice, of it the lead, of that the dry and clean part."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from offline.separate.ensemble import Domain, Method
from offline.separate.files import separate
from offline.separate.models import DEFAULT, open_separator, task_of
from offline.separate.protocol import Progress, Separator
from offline.separate.roles import TASKS, Task
from stream.device import CPU, Device
from stream.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Step(BaseModel):
    """One separation: which models do it, and how several are joined."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[str, ...] = Field(min_length=1)
    method: Method = "mean"
    domain: Domain = "wave"
    weights: tuple[float, ...] = ()


class Chain(BaseModel):
    """Steps, each of which hears what the one before it was after; those left out are not done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocals: Step = Step(models=(DEFAULT,))
    lead: Step | None = None
    dereverb: Step | None = None
    denoise: Step | None = None

    @property
    def steps(self) -> dict[Task, Step]:
        """Those that are done, in their order."""
        every: dict[Task, Step | None] = {
            "vocals": self.vocals,
            "lead": self.lead,
            "dereverb": self.dereverb,
            "denoise": self.denoise,
        }
        return {task: step for task, step in every.items() if step is not None}


PRESETS: Mapping[str, Chain] = MappingProxyType(
    {
        "vocals": Chain(),
        # the models of ultimate-rvc, by their published names
        "mdx": Chain(
            vocals=Step(models=("UVR-MDX-NET-Voc_FT",)),
            lead=Step(models=("UVR_MDXNET_KARA_2",)),
            dereverb=Step(models=("Reverb_HQ_By_FoxJoy",)),
        ),
        # the best that is published, by its signal-to-distortion ratio
        "roformer": Chain(
            vocals=Step(models=("model_bs_roformer_ep_317_sdr_12.9755",)),
            lead=Step(models=("mel_band_roformer_karaoke_aufr33_viperx_sdr_10.1956",)),
            dereverb=Step(models=("dereverb_mel_band_roformer_anvuew_sdr_19.1729",)),
            denoise=Step(models=("denoise_mel_band_roformer_aufr33_sdr_27.9959",)),
        ),
    }
)


@dataclass(frozen=True)
class Opened:
    """A step whose models are open."""

    task: Task
    separator: Separator


def chain_of(name: str) -> Chain:
    """A preset by its name, or a TOML file of steps. Raises `ConfigError`.

    Each step is a table: `[lead]`, `models = ["UVR_MDXNET_KARA_2"]`.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise ConfigError(f"No chain '{name}'. There are {', '.join(PRESETS)}, or a .toml file.")
    try:
        return Chain.model_validate(tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error


def with_models(
    chain: Chain,
    *,
    vocals: tuple[str, ...] = (),
    method: Method = "mean",
    domain: Domain = "wave",
    weights: tuple[float, ...] = (),
    lead: str = "",
    dereverb: str = "",
    denoise: str = "",
) -> Chain:
    """`chain` with other models: several may take the voice out, one does each of the rest.

    What is empty stays as it is in `chain`. Raises `ConfigError` for weights without models.
    """
    if (weights or (method, domain) != ("mean", "wave")) and not vocals:
        raise ConfigError("What joins several models needs models: give --model for each.")
    changed: dict[str, Step] = {}
    if vocals:
        step = Step(models=vocals, method=method, domain=domain, weights=weights)
        changed["vocals"] = step
    for task, name in (("lead", lead), ("dereverb", dereverb), ("denoise", denoise)):
        if name:
            changed[task] = Step(models=(name,))
    return chain.model_copy(update=changed)


def open_chain(chain: Chain, home: Path, *, device: Device = CPU, threads: int = 0) -> list[Opened]:
    """Open the models of every step, so that what is missing is told before any work.

    Raises what `open_separator` raises, and `ConfigError` for a model of another task.
    """
    opened: list[Opened] = []
    for task, step in chain.steps.items():
        separator = open_separator(
            step.models,
            home,
            method=step.method,
            domain=step.domain,
            weights=step.weights,
            device=device,
            threads=threads,
        )
        if task_of(separator) != task:
            names = ", ".join(step.models)
            raise ConfigError(f"{names} takes out {separator.target}, not {TASKS[task].target}.")
        opened.append(Opened(task, separator))
    return opened


def run_chain(
    source: Path,
    folder: Path,
    steps: Sequence[Opened],
    *,
    suffix: str = "",
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Separate `source`, then what each step was after; returns every stem's file by its name.

    progress  told the frames that are done and that there are in all steps together

    Raises what `separate` raises; the files of the steps before are there then.
    """
    stems: dict[str, Path] = {}
    heard = source
    for i, step in enumerate(steps):

        def show(done: int, frames: int, before: int = i) -> None:
            if progress:
                progress(before * frames + done, len(steps) * frames)

        stems |= separate(heard, folder, step.separator, suffix=suffix, progress=show)
        heard = stems[step.separator.target]
    return stems
