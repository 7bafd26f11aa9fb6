"""Where the server's settings come from: flags, over the environment, over a file, over defaults.

docs/configuration.md lists them; it is written from the fields of `ServerConfig` and `Limits`.
"""

import difflib
import sys
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from server.config import Limits, ServerConfig
from stream.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "TIMBRAL_"
OF_LIMITS = PREFIX + "LIMITS_"
OF_OTHERS = frozenset({"TIMBRAL_CONFIG", "TIMBRAL_MIRROR"})  # no settings, but known
PATHS = frozenset({"home", "tokens", "cert", "key", "audit"})
LISTS = frozenset({"allowed_hosts", "proxies"})


def load_config(
    file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]
) -> ServerConfig:
    """Put together the settings.

    file     TOML; paths in it are relative to its folder. `TIMBRAL_CONFIG` when None, or no file
    environ  `TIMBRAL_` and the setting's name in capitals; lists have commas; "" is not given
    flags    what was given to the command; None is not given

    Law: a setting comes from the first of flags, environment, file and default that has it. Raises
    `ConfigError` for what is unknown or wrong, naming it and where it stands.
    """
    named = environ.get("TIMBRAL_CONFIG")
    chosen = file if file is not None else Path(named) if named else None
    settings = _of_file(chosen) if chosen is not None else {}
    limits = dict(settings.pop("limits", {}))
    own, of_limits = _of_environment(environ)
    settings |= own
    limits |= of_limits
    settings |= {name: value for name, value in flags.items() if value is not None}
    try:
        return TypeAdapter(ServerConfig).validate_python({**settings, "limits": limits})
    except ValidationError as error:
        raise ConfigError(_told(error)) from error


def variable(name: str) -> str:
    """The environment's name of a setting, as `port` or `limits.idle_s`.

    >>> variable("port"), variable("limits.idle_s")
    ('TIMBRAL_PORT', 'TIMBRAL_LIMITS_IDLE_S')
    """
    return PREFIX + name.replace(".", "_").upper()


def settings_of(kind: type[ServerConfig] | type[Limits]) -> list[Field[Any]]:
    """The settings that are values, in order."""
    return [each for each in fields(kind) if each.name != "limits"]


def _of_file(path: Path) -> dict[str, Any]:
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # TOML's and UTF-8's own are ValueErrors
        raise ConfigError(f"{path} is not TOML: {error}.") from error
    if not isinstance(settings.get("limits", {}), dict):
        raise ConfigError(f"{path}: limits is a table, [limits], with a line for each limit.")
    for name in PATHS & settings.keys():
        if isinstance(settings[name], str):
            settings[name] = path.parent / _expanded(name, settings[name])
    return settings


def _expanded(name: str, text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{name}: there is no user's folder {text}.") from error


def _of_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the environment sets: of `ServerConfig`, and of `Limits`."""
    own = {variable(each.name): each.name for each in settings_of(ServerConfig)}
    limits = {variable(f"limits.{each.name}"): each.name for each in settings_of(Limits)}
    known = {*own, *limits, *OF_OTHERS}
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" Is {near[0]} meant?" if near else ""
            raise ConfigError(f"There is no setting {name}.{hint}")
    given = {name: text for name, text in environ.items() if text}
    return (
        {name: _parsed(name, given[key]) for key, name in own.items() if key in given},
        {name: given[key] for key, name in limits.items() if key in given},
    )


def _parsed(name: str, text: str) -> Any:
    if name in LISTS:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "unexpected_keyword_argument":
        return f"There is no setting {name}; docs/configuration.md lists them."
    return f"{name}: {first['msg']}."
