from pathlib import Path
from typing import Any

import pytest

from server.config import ServerConfig
from server.service import greeting
from server.warm import Running, Warm

TLS: dict[str, Any] = {"cert": Path("cert.pem"), "key": Path("key.pem")}
WARM = Warm({"cpu": "CPUExecutionProvider"}, {"low": 62.8})


@pytest.mark.parametrize(
    ("url", "settings", "options"),
    [
        ("http://127.0.0.1:8765", {}, ""),
        ("http://127.0.0.1:9000", {}, " --server http://127.0.0.1:9000"),
        ("http://0.0.0.0:8765", {"token": "a-long-secret"}, " --token TOKEN"),
        ("http://[::]:9000", {"tokens": Path("t")},
         " --server http://127.0.0.1:9000 --token TOKEN"),
        ("https://0.0.0.0:8765", {**TLS, "tokens": Path("t")},
         " --server https://NAME:8765 --token TOKEN"),
        ("https://voice.example.org:443", TLS, " --server https://voice.example.org:443"),
    ],
)  # fmt: skip
def test_who_starts_a_server_is_told_a_command_that_reaches_it(
    url: str, settings: dict[str, Any], options: str
) -> None:
    text = greeting(Running(url, "ada", WARM), ServerConfig(**settings))
    assert text.endswith(f"timbral send speech.wav out.wav{options}")
    assert f"listens on {url}\n" in text
    assert "low 63 ms" in text
