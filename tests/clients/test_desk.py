import pytest

from clients.desk import HOLD_S, KEYS, KNOBS, REPEAT_S, Desk
from clients.keys import names
from clients.presets import Preset
from server.protocol import Bypass, ControlsNow, ControlValues, SetControls, SetVoice, VoiceNow
from stream.controls import LIMITS, Controls
from stream.errors import ConfigError


def desk(**more: object) -> Desk:
    return Desk("starter", **more)  # pyright: ignore[reportArgumentType]


def test_a_start_has_what_was_chosen_and_nothing_else() -> None:
    chosen = Desk("ada", "low", ControlValues(pitch=3.0, gate_db=-60.0))
    start = chosen.start(48_000, "s16le", "secret")
    assert (start.voice, start.profile, start.token) == ("ada", "low", "secret")
    assert start.controls.model_dump(exclude_none=True) == {"pitch": 3.0}


def test_a_rate_that_no_stream_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="96000"):
        desk().start(96_000, "s16le", None)


def test_bypass_is_on_by_its_key_and_off_when_a_conversation_begins() -> None:
    it = desk()
    assert it.press("b", 0.0) == [Bypass(on=True)]
    assert it.bypass
    it.start(48_000, "s16le", None)
    assert not it.bypass
    for key in ["m", "r", "v", "p", "a", "0", "up", "down", "left", "right", "x"]:
        it.press(key, 0.0)
        assert not it.bypass


def test_mute_closes_the_microphone() -> None:
    it = desk()
    assert it.open(0.0)
    assert it.press("m", 0.0) == []
    assert not it.open(0.0)
    it.press("m", 0.0)
    assert it.open(0.0)


def test_push_to_talk_opens_while_the_key_repeats() -> None:
    it = desk(push_to_talk=True)
    assert not it.open(0.0)
    it.press(" ", 10.0)
    assert it.open(10.0 + HOLD_S - 0.01)
    for step in range(20):
        it.press(" ", 10.5 + 0.04 * step)
    last = 10.5 + 0.04 * 19
    assert it.open(last + REPEAT_S - 0.01)
    assert not it.open(last + REPEAT_S + 0.01)
    it.press("m", 20.0)
    it.press(" ", 20.0)
    assert not it.open(20.1)


def test_every_knob_turns_within_its_limits_and_back() -> None:
    it = desk()
    for number, knob in enumerate(KNOBS):
        assert it.knob == number
        low, high = LIMITS[knob.name]
        for key, end in (("right", high), ("left", low)):
            for _ in range(200):
                (message,) = it.press(key, 0.0)
                assert isinstance(message, SetControls)
            assert it.controls[knob.name] == end
        it.press("0", 0.0)
        assert it.controls[knob.name] == vars(Controls())[knob.name]
        it.press("down", 0.0)
    assert it.knob == 0
    it.press("up", 0.0)
    assert it.knob == len(KNOBS) - 1


def test_what_the_server_says_is_in_force() -> None:
    it = desk()
    it.press("a", 0.0)
    assert it.controls["auto_pitch"] is False
    it.heard(ControlsNow(**vars(Controls(pitch=2.0))))
    it.heard(VoiceNow(voice="ada"))
    assert (it.controls["pitch"], it.controls["auto_pitch"], it.voice) == (2.0, True, "ada")


def test_voices_come_round() -> None:
    it = desk()
    assert it.press("v", 0.0) == []
    assert "no other voice" in it.notice
    it.voices = ["ada", "ben", "starter"]
    said = [it.press("v", 0.0) for _ in range(3)]
    assert said == [[SetVoice(voice=name)] for name in ("ada", "ben", "starter")]


def test_presets_come_round_and_are_what_was_saved() -> None:
    it = desk()
    assert it.press("p", 0.0) == []
    assert "--save-preset" in it.notice
    deep = Preset(name="deep", voice="starter", controls=ControlValues(pitch=-5.0))
    other = Preset(name="other", voice="ada")
    it = desk(presets=[deep, other])
    it.press("right", 0.0)
    (first,) = it.press("p", 0.0)
    assert isinstance(first, SetControls)
    assert (first.pitch, first.formant, it.preset) == (-5.0, 0.0, "deep")
    assert it.as_preset("copy") == deep.model_copy(update={"name": "copy"})
    second = it.press("p", 0.0)
    assert second[1] == SetVoice(voice="ada")
    assert it.controls == vars(Controls())
    it.press("p", 0.0)
    assert it.preset == "deep"
    it.press("right", 0.0)
    assert it.preset == ""


def test_keys_that_quit() -> None:
    for key in ("q", "\x03"):
        it = desk()
        it.press(key, 0.0)
        assert it.over


def test_every_key_that_is_shown_does_something() -> None:
    shown = " ".join(key for key, _ in KEYS).replace("space", "").replace("/", " ").split()
    assert set(shown) >= {"m", "b", "r", "v", "p", "a", "q", "0", "up", "down", "left", "right"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mb q", ["m", "b", " ", "q"]),
        ("\x1b[A\x1b[B\x1bOC\x1bOD", ["up", "down", "right", "left"]),
        ("\x1b[1;5Ax", ["up", "x"]),
        ("\x1b[15~\x1b[3~m", ["m"]),
        ("\x1b", []),
        ("\x1b[", []),
        ("é", ["é"]),
    ],
)
def test_a_terminals_bytes_are_keys(text: str, found: list[str]) -> None:
    assert names(text) == found
