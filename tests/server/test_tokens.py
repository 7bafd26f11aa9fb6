"""Tokens: kept as hashes, compared in constant time, each with its limits; and whom they let in."""

import json
import os
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import server.tokens
from server.auth import Gate
from server.command import app
from server.config import Limits, ServerConfig
from server.failures import Refused
from server.tokens import (
    Token,
    add_token,
    digest,
    find,
    new_secret,
    read_tokens,
    remove_token,
    same_token,
    write_tokens,
)
from stream.errors import ConfigError

TODAY = date(2026, 3, 1)


def token(secret: str, name: str = "ada", /, **facts: object) -> Token:
    return Token.model_validate({"name": name, "sha256": digest(secret), "made": TODAY, **facts})


def test_a_token_has_256_random_bits_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(secret.removeprefix("timbral_")) >= 256 / 6 for secret in secrets)
    path = tmp_path / "deep" / "tokens.json"
    kept = secrets.pop()
    add_token(path, token(kept))
    assert kept not in path.read_text()
    assert digest(kept) in path.read_text()
    assert os.name != "posix" or path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["tokens.json"]


@given(st.integers(0, 7), st.booleans())
@settings(max_examples=20)
def test_every_token_is_compared_wherever_the_right_one_stands(place: int, right: bool) -> None:
    secrets = [f"timbral_{k}" for k in range(8)]
    compared: list[str] = []

    def counted(a: str, b: str) -> bool:
        compared.append(b)
        return a == b

    held = [token(secret, f"t{k}") for k, secret in enumerate(secrets)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.tokens.hmac, "compare_digest", counted)
        found = find(secrets[place] if right else "timbral_9", held)
    assert found == (held[place] if right else None)
    assert len(compared) == 8


@given(st.text(max_size=20), st.text(min_size=1, max_size=20))
@settings(max_examples=20)
def test_only_the_same_text_is_the_same_token(a: str, b: str) -> None:
    assert same_token(a, b) == (a == b)
    assert same_token(b, b)
    assert not same_token(None, b)


def test_tokens_are_added_removed_and_unique(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    add_token(path, token("one", "ada"))
    add_token(path, token("two", "ben"))
    with pytest.raises(ConfigError, match="already"):
        add_token(path, token("three", "ada"))
    remove_token(path, "ada")
    with pytest.raises(ConfigError, match="There are: ben"):
        remove_token(path, "ada")
    assert [each.name for each in read_tokens(path)] == ["ben"]


@pytest.mark.parametrize(
    "facts",
    [
        {"sha256": "x"},
        {"name": ""},
        {"name": "a b"},
        {"name": "../a"},
        {"max_streams": 0},
        {"minutes_per_day": -1},
        {"minutes_per_day": float("nan")},
        {"upload_bytes": -1},
        {"upload_bytes": 5, "voices": ["ada"]},
        {"admin": True},
    ],
)
def test_a_token_that_cannot_be_is_refused(facts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        token("x", **facts)


@pytest.mark.parametrize("text", ["", "[]", '{"tokens": [1]}', '{"format": 2}', "\x80"])
def test_a_file_that_is_none_of_tokens_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"tokens\.json"):
        read_tokens(path)


def test_two_tokens_of_one_name_and_a_missing_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_tokens(path, [token("one")])
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "tokens": held["tokens"] * 2}))
    with pytest.raises(ConfigError, match="one name"):
        read_tokens(path)
    with pytest.raises(ConfigError, match="timbral tokens add"):
        read_tokens(tmp_path / "none.json")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_tokens(path, [token("one")])
    path.chmod(0o620)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_tokens(path)


def gate(path: Path, **settings: object) -> Gate:
    config = ServerConfig(tokens=path, **settings)  # pyright: ignore[reportArgumentType]
    return Gate(config, lambda: TODAY)


def said(gate: Gate, given: str | None, address: str = "192.0.2.1", now: float = 0.0) -> str:
    """Whose token it is, or what it was refused with."""
    try:
        return gate.check(given, address, now).name
    except Refused as error:
        return f"{error.code}: {error}"


def test_a_gate_knows_good_tokens_only(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    old, last = TODAY - timedelta(days=1), TODAY
    write_tokens(
        path,
        [token("one"), token("two", "old", expires=old), token("three", "last", expires=last)],
    )
    door = gate(path, token="the-one-token")
    assert said(door, "one") == "ada"
    assert said(door, "three") == "last"
    assert said(door, "the-one-token") == "(token)"
    for wrong in (None, "", "two", "four", digest("one"), "one "):
        assert "missing or wrong" in said(door, wrong)
    assert Gate(ServerConfig()).check(None, "127.0.0.1", 0.0).name == "(local)"


def test_what_a_token_may_do_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_tokens(path, [token("one", voices=["ada"], max_streams=2, minutes_per_day=3)])
    holder = gate(path).check("one", "192.0.2.1", 0.0)
    assert (holder.max_streams, holder.minutes_per_day) == (2, 3.0)
    assert (holder.upload_bytes, holder.operator) == (0, False)
    holder.check_voice("ada")
    with pytest.raises(Refused, match=r"No voice 'ben'\. There are: ada") as refused:
        holder.check_voice("ben")
    assert refused.value.code == "voice_not_found"


def test_a_file_is_read_again_when_it_changes_and_kept_when_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_tokens(path, [token("one"), token("two", "ben")])
    door = gate(path)
    assert door.refresh() == frozenset()
    write_tokens(path, [token("one", max_streams=1), token("new", "ben")])
    assert door.refresh() == {"ben"}, "another token of the same name is another token"
    assert door.check("one", "192.0.2.1", 0.0).max_streams == 1
    assert "wrong" in said(door, "two")
    path.write_text("damaged")
    with pytest.raises(ConfigError, match="no file of tokens"):
        door.refresh()
    assert door.refresh() == frozenset(), "told once"
    assert said(door, "one") == "ada"
    path.unlink()
    assert door.refresh() == {"ada", "ben"}
    assert "wrong" in said(door, "one")


def test_a_token_that_expires_while_in_use_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_tokens(path, [token("one", expires=TODAY)])
    days = [TODAY, TODAY, TODAY + timedelta(days=1)]
    door = Gate(ServerConfig(tokens=path), lambda: days[0])
    assert door.refresh() == frozenset()
    days[0] = days[2]
    assert door.refresh() == {"ada"}
    assert "wrong" in said(door, "one")


def test_off_loopback_an_empty_file_of_tokens_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_tokens(path, [])
    with pytest.raises(ConfigError, match="nobody could connect"):
        gate(path, host="0.0.0.0")
    assert "wrong" in said(gate(path), "any")


def test_an_address_that_guesses_is_refused_for_a_minute(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_tokens(path, [token("one")])
    door = gate(path, limits=Limits(wrong_tokens_per_minute=3))
    for k in range(3):
        assert "missing or wrong" in said(door, f"guess {k}", now=10.0 * k)
    assert "Too many" in said(door, "one", now=30.0)
    assert said(door, "one", "192.0.2.2", now=30.0) == "ada"
    assert said(door, "one", now=60.5) == "ada"
    for k in range(50):
        assert "missing" in said(door, None, "192.0.2.3", now=70.0), f"{k}: no token is no guess"
    for k in range(3):
        said(door, f"guess {k}", f"2001:db8::{k}", now=100.0)
    assert "Too many" in said(door, "one", "2001:db8::ffff", now=100.0), "a /64 is one address"
    assert said(door, "one", "2001:db8:0:1::1", now=100.0) == "ada"


def test_guesses_from_everywhere_take_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_tokens(path, [])
    door = gate(path)
    for k in range(10_100):
        said(door, "guess", f"10.{k >> 16}.{k >> 8 & 255}.{k & 255}")
    assert len(door._wrong) <= 10_000  # pyright: ignore[reportPrivateUsage]


def run(*words: str) -> tuple[int, str]:
    ran = CliRunner().invoke(app, ["tokens", *words], catch_exceptions=True)
    return ran.exit_code, ran.stdout if ran.exception is None else repr(ran.exception)


def test_the_command_makes_lists_and_withdraws_tokens(tmp_path: Path) -> None:
    file = ["--file", str(tmp_path / "tokens.json")]
    limits = ["--voice", "starter", "--max-streams", "2", "--minutes-per-day", "90"]
    status, secret = run("add", "ada", *limits, "--days", "0", *file)
    assert status == 0
    assert run("add", "boss", "--operator", "--upload-mib", "3", *file)[0] == 0
    status, text = run("list", *file)
    assert [line.split()[0] for line in text.splitlines()] == ["ada", "boss"]
    assert "voices starter; 2 streams; 90 min a day" in text
    assert "adds 3 MiB; operator" in text
    assert secret.strip() not in text
    ada, boss = read_tokens(tmp_path / "tokens.json")
    assert find(secret.strip(), [boss, ada]) == ada
    assert (ada.expires, boss.upload_bytes) == (ada.made, 3 << 20)
    assert "boss" not in run("remove", "boss", *file)[1].replace("Removed 'boss'", "")
    assert "ConfigError" in run("remove", "boss", *file)[1]
    assert "ConfigError" in run("add", "a b", *file)[1]
