"""A mix in words: tracks as `vocals.wav:gain=-2,pan=0.3`, and how loud all is to be."""

import re
from pathlib import Path

from pydantic import ValidationError

from offline.effects.chain import Filter, HighPass, HighShelf, LowShelf, Peak
from offline.mix import MixSettings, Track
from stream.errors import ConfigError

TRACK = re.compile(r"^(?P<path>.+?)(?::(?P<words>\w+=[^:=,]*(?:,\w+=[^:=,]*)*))?$", re.DOTALL)
FIELDS = {"gain": "gain_db", "pan": "pan", "delay": "delay_ms"}
TONES = ("cut", "low", "mid", "high")
SOURCE = "source="
OFF = "off"


def track(text: str) -> Track:
    """A track from `PATH[:word=number,...]`.

    gain   dB                       delay  ms, negative for earlier
    pan    -1 left .. 1 right       cut    Hz below which everything is taken away
    low    dB below 150 Hz          mid    dB around 1 kHz          high  dB above 6 kHz

    Raises `ConfigError` for other words and for numbers that are none, naming them.
    """
    found = TRACK.match(text)
    if found is None:
        raise ConfigError("A track has no name. Give the path of a file.")
    given: dict[str, float] = {}
    for word in (found["words"] or "").split(","):
        name, _, value = word.partition("=")
        if name and name not in {*FIELDS, *TONES}:
            known = ", ".join((*FIELDS, *TONES))
            raise ConfigError(f"{text}: there is no '{name}' of a track, only {known}.")
        if name:
            given[name] = _number(f"{text}: {name}", value)
    try:
        fields = {FIELDS[name]: value for name, value in given.items() if name in FIELDS}
        return Track.model_validate({"path": Path(found["path"]), **fields, "eq": _tone(given)})
    except ValidationError as error:
        raise ConfigError(f"{text}: {_told(error)}.") from error


def mix_settings(loudness: str, ceiling: str) -> MixSettings:
    """Settings from `-14`, `off` or `source=FILE`, and from `-1` or `off`.

    Raises `ConfigError` for anything else.
    """
    wanted: float | Path | None = None
    if loudness.startswith(SOURCE):
        wanted = Path(loudness.removeprefix(SOURCE))
    elif loudness != OFF:
        wanted = _number("--loudness (LUFS, off, or source=FILE)", loudness)
    held = None if ceiling == OFF else _number("--ceiling (dBTP, or off)", ceiling)
    try:
        return MixSettings(loudness=wanted, ceiling_db=held)
    except ValidationError as error:
        raise ConfigError(f"--{_told(error)}.") from error


def _tone(given: dict[str, float]) -> tuple[Filter, ...]:
    filters: list[Filter] = []
    if "cut" in given:
        filters.append(HighPass(hz=given["cut"]))
    if "low" in given:
        filters.append(LowShelf(gain_db=given["low"]))
    if "mid" in given:
        filters.append(Peak(gain_db=given["mid"]))
    if "high" in given:
        filters.append(HighShelf(gain_db=given["high"]))
    return tuple(filters)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{name}: '{text}' is no number.") from error


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    names = {field: word for word, field in FIELDS.items()} | {"ceiling_db": "ceiling"}
    name = str(first["loc"][0]) if first["loc"] else "a filter"
    return f"{names.get(name, name)}: {first['msg']} (it is {first['input']!r})"
