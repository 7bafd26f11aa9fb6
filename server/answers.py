"""What the server says over HTTP as JSON: the models that answers are made of."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from server.protocol import Encoding, ProfileName, Rate


class Told(BaseModel):
    """What is said: exactly these fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Places(Told):
    """Of streams."""

    open: int = Field(ge=0)
    most: int = Field(ge=1)


class Info(Told):
    """What the server is."""

    name: Literal["timbral"] = "timbral"
    version: str
    protocol: int = Field(description="the version of the wire protocol")
    voice: str = Field(description="the default one")
    device: str
    workers: int = Field(ge=1, description="threads that convert")
    sample_rates: tuple[Rate, ...]
    encodings: tuple[Encoding, ...]
    profiles: tuple[ProfileName, ...]
    uptime_s: float = Field(ge=0.0)
    ready: bool
    provider: str = Field(description="what the models run on; empty until the voice is loaded")
    why: dict[str, str] = Field(default={}, description="by device, why its models run on that")
    replica: str = Field(default="", description="its name among several servers, if it has one")
    fullness: float = Field(default=0.0, ge=0.0, description="part of what it can take, 1: all")
    streams: Places


class Unusable(Told):
    """A voice that cannot be used."""

    name: str
    error: str


class Voices(Told):
    """The voices that there are for who asks."""

    default: str
    voices: tuple[dict[str, Any], ...]


class Added(Told):
    """A voice that was added."""

    voice: dict[str, Any] = Field(description="its card")
    missing: str = Field(description="what it still needs before it can speak, or empty")


class JobTold(Told):
    """A job, as it is at one moment; times are in seconds since 1970."""

    id: str
    owner: str
    name: str = Field(description="the song's file")
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    settings: dict[str, Any] = Field(description="as asked")
    steps: dict[str, Annotated[list[int], Field(min_length=2, max_length=2)]] = Field(
        description="by a step's name: done, of all"
    )
    made: float
    began: float | None
    ended: float | None
    why: str = Field(description="it failed; for people")
    seconds: float = Field(description="of sound in the cover")


class JobsTold(Told):
    """The jobs of who asks, the newest first."""

    jobs: tuple[JobTold, ...]


def answer(told: Told, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """`told` as the body of an answer."""
    text, kind = told.model_dump_json(), "application/json"
    return web.Response(text=text, status=status, content_type=kind, headers=headers)
