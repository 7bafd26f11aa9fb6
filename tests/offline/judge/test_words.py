"""Words counted, and a recogniser that is not there."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.judge.words import errors, open_recogniser, words
from stream.errors import AssetMissing, ConfigError

text = st.text(alphabet="abc", max_size=6)


@settings(max_examples=50, deadline=None)
@given(text, text, text)
def test_errors_are_a_metric(one: str, two: str, three: str) -> None:
    assert (errors(one, two) == 0) == (one == two)
    assert errors(one, two) == errors(two, one)
    assert errors(one, three) <= errors(one, two) + errors(two, three)
    assert abs(len(one) - len(two)) <= errors(one, two) <= max(len(one), len(two))


def test_words_are_told_apart_in_any_language() -> None:
    assert words("Zoë's 3 Äpfel, \u2018mr.\u2019 12x") == [
        "zoë's",
        "three",
        "äpfel",
        "mister",
        "12",
        "x",
    ]
    assert words("...") == []


def test_without_a_recogniser_it_is_said_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faster_whisper", None)
    with pytest.raises(ConfigError, match="pip install 'timbral"):
        open_recogniser(tmp_path)


def test_without_a_model_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    from types import ModuleType

    package = ModuleType("faster_whisper")
    package.__dict__["WhisperModel"] = object
    monkeypatch.setitem(sys.modules, "faster_whisper", package)
    with pytest.raises(AssetMissing, match="timbral models pull whisper-tiny-en"):
        open_recogniser(tmp_path)
    with pytest.raises(ConfigError, match="no Whisper model"):
        open_recogniser(tmp_path, tmp_path)
