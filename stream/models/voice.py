"""A voice: its bundle on disk, and the loaded models that speak with it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream.device import Device
from stream.errors import BadBundle
from stream.models.blackbox import BlackBox
from stream.models.content import ContentEncoder, EncoderCard, StudentEncoder
from stream.models.digest import sha256
from stream.models.f0 import Detectors
from stream.models.hubert import open_encoder
from stream.models.index import RetrievalIndex
from stream.models.nsf import DECODER, PRIOR, NsfSynthesizer
from stream.models.synth import StudentSynthesizer, Synthesizer
from stream.profiles import FILE_STEADY, FILE_WINDOWED, STEADY, WINDOWED, Profile, Profiles

CARD, SYNTH, INDEX, PREVIEW = "voice.json", "synth.onnx", "index.faiss", "preview.wav"
ENCODER_CARD, ENCODER = "encoder.json", "content.onnx"


class VoiceCard(BaseModel):
    """`voice.json`: what must be known of a voice before it is loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    description: str = ""
    family: Literal["rvc"] = "rvc"
    kind: Literal["student", "nsf", "blackbox"] = Field(
        default="student",
        description="the starter's small network, a published checkpoint, or somebody's ONNX file",
    )
    rvc_version: Literal["v1", "v2"]
    sample_rate: int = Field(ge=8_000, le=48_000, description="Hz, a multiple of 100")
    speakers: tuple[str, ...] = Field(min_length=1)
    encoder: str = Field(description="id of the content encoder")
    feature_dim: int = Field(ge=1, le=4096)
    feature_rate: Literal[50] = Field(default=50, description="content frames/s")
    look_ahead_ms: int = Field(
        default=0,
        ge=0,
        description="of the encoder, beyond a content frame; 0: as the profile has it",
    )
    latent: int = Field(ge=0, description="channels of the flow")
    late: int = Field(default=0, ge=0, description="samples by which the decoder lags")
    f0: bool = Field(default=True, description="whether it takes a pitch")
    unvoiced: Literal["zero", "interpolated"] = Field(
        default="zero", description="the pitch that it got for unvoiced frames in training"
    )
    noise_scale: float = Field(ge=0.0, le=1.0, description="spread of the prior's noise")
    f0_median_hz: float | None = Field(
        gt=0.0, description="of the voice's own speech; without it the pitch cannot be matched"
    )
    f0_min_hz: float = Field(gt=0.0)
    f0_max_hz: float = Field(gt=0.0)
    licence: str
    consent: str
    source: str
    about: dict[str, str] = Field(default={}, description="what else its maker says")
    files: dict[str, str] = Field(description="file name: sha256")

    @property
    def hop(self) -> int:
        """Samples of a 10 ms synthesizer frame."""
        return self.sample_rate // 100


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A loaded voice. Holds weights only, so every stream and thread may share it."""

    card: VoiceCard
    encoder: ContentEncoder
    detectors: Detectors
    synth: Synthesizer
    index: RetrievalIndex | None

    @property
    def provider(self) -> str:
        """ONNX Runtime's name for what really runs the synthesizer."""
        return self.synth.provider

    @property
    def whole_hops(self) -> bool:
        """Whether it hears a window anew with every hop, so that short hops are dear."""
        return self.encoder.whole_hops or self.synth.whole_hops

    @property
    def profiles(self) -> Profiles:
        """The hops that suit it, the shortest first."""
        return WINDOWED if self.whole_hops else STEADY

    @property
    def for_files(self) -> Profile:
        """The hop for files, where latency does not matter."""
        return FILE_WINDOWED if self.whole_hops else FILE_STEADY

    def look_ahead(self, profile: Profile) -> int:
        """Content frames that its features hear beyond their own."""
        own = self.encoder.card.delay_frames
        return profile.look_ahead if self.encoder.whole_hops else own


def read_card(folder: Path) -> VoiceCard:
    """The card of the bundle in `folder`; raises `BadBundle`."""
    return _read(folder, CARD, VoiceCard)


def load_encoder(folder: Path, device: Device, threads: int = 1) -> ContentEncoder:
    """The content encoder in `folder`; raises `BadBundle` and `ModelError`."""
    card = _read(folder, ENCODER_CARD, EncoderCard)
    verify(folder, card.files, needed=(ENCODER,) if card.kind == "student" else ())
    if card.kind == "student":
        return StudentEncoder(folder / ENCODER, card, device)
    return open_encoder(folder, card, device, threads)


def load_voice(
    folder: Path,
    encoder: ContentEncoder,
    detectors: Detectors,
    device: Device,
    threads: int = 1,
) -> Voice:
    """The voice in `folder`, every file checked first; raises `BadBundle` and `ModelError`."""
    card = read_card(folder)
    if card.feature_dim != encoder.dim:
        why = f"it needs {card.feature_dim} features, encoder {encoder.card.id} has {encoder.dim}"
        raise BadBundle(folder, why)
    verify(folder, card.files, needed=(PRIOR, DECODER) if card.kind == "nsf" else (SYNTH,))
    if card.kind == "nsf" and not encoder.whole_hops:
        raise BadBundle(folder, f"encoder {encoder.card.id} describes nothing ahead, as it needs")
    synth = _synthesizer(folder, card, device, threads)
    index = RetrievalIndex(folder / INDEX, card.feature_dim) if INDEX in card.files else None
    return Voice(card=card, encoder=encoder, detectors=detectors, synth=synth, index=index)


def _synthesizer(folder: Path, card: VoiceCard, device: Device, threads: int) -> Synthesizer:
    if card.kind == "blackbox":
        return BlackBox.of_card(folder / SYNTH, card, device, threads)
    if card.kind == "nsf":
        return NsfSynthesizer(
            folder,
            dim=card.feature_dim,
            latent=card.latent,
            hop=card.hop,
            late=card.late,
            f0=card.f0,
            noise_scale=card.noise_scale,
            device=device,
            threads=threads,
        )
    return StudentSynthesizer(
        folder / SYNTH,
        dim=card.feature_dim,
        latent=card.latent,
        hop=card.hop,
        noise_scale=card.noise_scale,
        device=device,
    )


def verify(folder: Path, files: dict[str, str], needed: tuple[str, ...] = ()) -> None:
    """Compare every listed file with its sha256; raises `BadBundle` at the first that differs."""
    for name in needed:
        if name not in files:
            raise BadBundle(folder, f"its card does not list {name}")
    for name, expected in files.items():
        path = folder / name
        if Path(name).name != name or name in {"", ".", ".."}:
            raise BadBundle(folder, f"its card lists a file outside the folder: {name!r}")
        if not path.is_file():
            raise BadBundle(folder, f"{name} is missing")
        if sha256(path) != expected:
            raise BadBundle(folder, f"{name} was altered: its sha256 is not the one in the card")


CardT = TypeVar("CardT", bound=BaseModel)


def _read(folder: Path, name: str, model: type[CardT]) -> CardT:
    try:
        return model.model_validate(json.loads((folder / name).read_text("utf-8")))
    except FileNotFoundError:
        raise BadBundle(folder, f"{name} is missing") from None
    except (OSError, ValueError, RecursionError) as error:  # pydantic's and JSON's are ValueErrors
        where = error.errors()[0] if isinstance(error, ValidationError) else None
        why = f"{'.'.join(map(str, where['loc']))}: {where['msg']}" if where else str(error)
        raise BadBundle(folder, f"{name} cannot be read ({why})") from error
