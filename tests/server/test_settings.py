"""Settings come from flags, the environment, a file, and defaults, in this order; and are told.

Run as a program, this writes docs/configuration.md anew: `make docs`.
"""

import re
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from server.command import app
from server.config import Limits, ServerConfig
from server.settings import load_config, settings_of, variable
from stream.errors import ConfigError

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
BEGIN = """# Configuration of the server

Written by `make docs` from `server/config.py`. A setting comes from the first of these that has it:

1. the flags of `timbral serve`;
2. the environment; an empty variable is not given, and lists have commas;
3. the file that `--config` or `TIMBRAL_CONFIG` names: TOML, paths in it relative to its folder;
4. the default.

A setting that there is not is an error, in the environment too: a misspelt token must not make a
server without one. `timbral serve` says which setting is wrong and what is allowed.

```toml
host = "0.0.0.0"
tokens = "tokens.json"
cert = "fullchain.pem"
key = "privkey.pem"
log = "json"

[limits]
idle_s = 30
```
"""
FLAGS: dict[str, Any] = {
    param.name: param
    for param in get_command(app).commands["serve"].params  # pyright: ignore
}


def shown(kind: Any) -> str:
    """A type as people read it."""
    if get_origin(kind) is not None and get_args(kind) and get_args(kind)[-1] is type(None):
        return shown(get_args(kind)[0])
    choices = [value for value in get_args(kind) if isinstance(value, str)]
    if choices:
        return " or ".join(f"`{choice}`" for choice in choices)
    if get_origin(kind) is tuple:
        return "list of text"
    return {str: "text", bool: "yes or no", int: "integer", float: "number", Path: "path"}[kind]


def rows(kind: type[ServerConfig] | type[Limits], prefix: str = "") -> list[list[str]]:
    """The cells of the table of a class of settings."""
    hints, defaults = get_type_hints(kind, include_extras=True), kind()
    told: list[list[str]] = []
    for each in settings_of(kind):
        assert get_origin(hints[each.name]) is Annotated
        real, text, *default = get_args(hints[each.name])
        value = getattr(defaults, each.name)
        plain = "" if value in (None, ()) else f"`{str(value).lower()}`"
        flag = f"`{FLAGS[each.name].opts[0]}`" if not prefix and each.name in FLAGS else ""
        name = f"{prefix}{each.name}"
        told.append(
            [
                f"`{each.name}`",
                f"`{variable(name)}`",
                flag,
                shown(real),
                *(default or [plain]),
                text,
            ]
        )
    return told


def table(kind: type[ServerConfig] | type[Limits], prefix: str = "") -> str:
    head = ["in the file", "in the environment", "flag", "type", "default", "meaning"]
    lines = [head, ["---"] * len(head), *rows(kind, prefix)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def page() -> str:
    return (
        f"{BEGIN}\n## Settings\n\n{table(ServerConfig)}\n## Limits: `[limits]` in the file\n\n"
        f"Seconds (`_s`), bytes, or counts; all above 0.\n\n{table(Limits, 'limits.')}"
    )


def test_the_page_of_the_configuration_is_what_the_fields_say() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `make docs`"


def test_the_example_of_the_page_is_understood(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", BEGIN, re.DOTALL)
    (tmp_path / "timbral.toml").write_text(example)
    config = load_config(tmp_path / "timbral.toml", {}, {})
    assert config.tokens == tmp_path / "tokens.json"
    assert (config.limits.idle_s, config.limits.start_s) == (30.0, Limits().start_s)


def test_every_flag_of_serve_is_a_setting_and_shows_its_default() -> None:
    defaults = ServerConfig()
    names = {each.name for each in settings_of(ServerConfig)}
    assert set(FLAGS) - names == {"config"}
    for name in set(FLAGS) & names:
        assert FLAGS[name].default is None, f"--{name} would hide the environment"
        told = re.search(r"\[default: (.+)\]", FLAGS[name].help)
        value = getattr(defaults, name)
        if value is None:
            assert told is None
        elif name != "max_streams":
            assert told is not None
            assert told[1] == (f"{value:g}" if isinstance(value, float) else str(value))


@given(st.sets(st.sampled_from(["flag", "environment", "file"])))
def test_the_first_place_that_has_a_setting_wins(places: set[str]) -> None:
    file = Path(__file__).parent / "settings.toml"
    environ = {"TIMBRAL_PORT": "2", "TIMBRAL_LIMITS_IDLE_S": "2"} if "environment" in places else {}
    config = load_config(
        file if "file" in places else None, environ, {"port": 1 if "flag" in places else None}
    )
    order = {"flag": 1, "environment": 2, "file": 3}
    assert config.port == min((order[place] for place in places), default=ServerConfig().port)
    of_limits = {"environment": 2.0, "file": 3.0}
    held = [of_limits[place] for place in places if place in of_limits]
    assert config.limits.idle_s == min(held, default=Limits().idle_s)


def test_the_environment_names_the_file_and_lists_have_commas(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text('token = "a-long-secret"\n')
    environ = {
        "TIMBRAL_CONFIG": str(tmp_path / "t.toml"),
        "TIMBRAL_ALLOWED_HOSTS": "a.example, b.example",
        "TIMBRAL_VOICE": "",
        "HOME": "/root",
    }
    config = load_config(None, environ, {})
    assert config.token == "a-long-secret"
    assert config.allowed_hosts == ("a.example", "b.example")
    assert config.voice == "starter"


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("prot = 1", {}, "prot"),
        ("[limits]\nidel_s = 1", {}, "limits.idel_s"),
        ("limits = 3", {}, "limits is a table"),
        ("port = 'x'", {}, "port"),
        ("port = 70000", {}, "port"),
        ("[limits]\nidle_s = 0", {}, "limits.idle_s"),
        ("[limits]\nidle_s = inf", {}, "limits.idle_s"),
        ("log = 'xml'", {}, "log"),
        ("cert = 'a.pem'", {}, "key"),
        ("allowed_hosts = ['voice.example.org']", {}, "voice.example.org can be reached"),
        ("port = ", {}, "not TOML"),
        ("", {"TIMBRAL_TOKNE": "x"}, "TIMBRAL_TOKEN meant"),
        ("", {"TIMBRAL_LIMITS": "x"}, "no setting TIMBRAL_LIMITS"),
        ("", {"TIMBRAL_MAX_STREAMS": "many"}, "max_streams"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, text: str, environ: dict[str, str], said: str
) -> None:
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_config(tmp_path / "t.toml", environ, {})


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load_config(Path("nowhere.toml"), {}, {})


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
