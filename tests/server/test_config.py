"""Settings, and who may connect."""

import pytest

from server.auth import host_allowed, origin_allowed
from server.config import ServerConfig, cores
from stream.errors import ConfigError


def test_the_defaults_are_local_and_bounded() -> None:
    config = ServerConfig()
    assert config.loopback
    assert config.token is None
    assert config.workers == cores() >= 1
    assert config.max_streams >= 2 * cores()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "voice.example.org", ""])
def test_off_loopback_a_token_is_needed(host: str) -> None:
    with pytest.raises(ConfigError, match="token"):
        ServerConfig(host=host)
    assert not ServerConfig(host=host, token="a-long-secret").loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert ServerConfig(host=host).loopback


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="port"):
        ServerConfig(port=65536)
    with pytest.raises(ConfigError, match="token"):
        ServerConfig(token="short")
    with pytest.raises(ConfigError, match="workers"):
        ServerConfig(workers=0)
    with pytest.raises(ConfigError, match="max_streams"):
        ServerConfig(max_streams=0)
    for name in ("a.b", "a b", "ä", "a" * 33):
        with pytest.raises(ConfigError, match="no name of a replica"):
            ServerConfig(replica=name)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8765", "127.0.0.1:1", "[::1]:8765"])
def test_local_names_are_this_server(host: str) -> None:
    assert host_allowed(host, ServerConfig())


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:8765", "localhost.evil.example", "[::1", "127.0.0.2"]
)
def test_other_names_are_not(host: str) -> None:
    assert not host_allowed(host, ServerConfig())
    assert host_allowed(host, ServerConfig(host="0.0.0.0", token="a-long-secret"))


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("http://localhost:8765", True),
        ("https://LOCALHOST:8765", True),
        ("http://localhost", False),
        ("http://localhost:8766", False),
        ("http://localhost:8765.evil.example", False),
        ("http://evil.example", False),
        ("file://localhost:8765", False),
        ("null", False),
        ("", False),
    ],
)
def test_only_own_pages_may_ask(origin: str | None, allowed: bool) -> None:
    assert origin_allowed(origin, "localhost:8765") == allowed
