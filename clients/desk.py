"""What a speaker decides while speaking: keys in, messages to the server out. No I/O."""

from dataclasses import dataclass
from typing import Any, get_args

from clients.presets import Preset
from server.protocol import (
    Bypass,
    ClientMessage,
    ControlsNow,
    ControlValues,
    Encoding,
    Message,
    ProfileName,
    Rate,
    SetControls,
    SetVoice,
    Start,
    VoiceNow,
)
from stream.controls import LIMITS, Controls
from stream.errors import ConfigError

HOLD_S = 0.8  # that a first press of the talk key lasts: terminals repeat it only after a while
REPEAT_S = 0.3  # and each repetition
RATES: tuple[int, ...] = get_args(Rate)
_SWITCHES = {"m": "muted", "b": "bypass", "r": "recording", "q": "over", "\x03": "over"}


@dataclass(frozen=True)
class Knob:
    """A control that keys turn."""

    name: str  # of the control
    step: float
    unit: str = ""


KNOBS = (
    Knob("pitch", 0.5, "st"),
    Knob("formant", 0.25, "st"),
    Knob("index_rate", 0.05),
    Knob("protect", 0.05),
    Knob("loudness", 0.1),
    Knob("autotune", 0.1),
    Knob("morph", 0.1),
    Knob("input_gain_db", 1.0, "dB"),
    Knob("output_gain_db", 1.0, "dB"),
    Knob("gate_db", 2.0, "dB"),
)
KEYS = (
    ("m", "mute"),
    ("b", "bypass"),
    ("space", "talk"),
    ("r", "record"),
    ("up/down", "control"),
    ("left/right", "turn"),
    ("0", "reset"),
    ("v", "voice"),
    ("p", "preset"),
    ("a", "auto pitch"),
    ("q", "quit"),
)


class Desk:
    """Voice, controls and switches, as the speaker wants them.

    Law: bypass, which lets the raw voice out, is on only by the speaker's key, and never outlasts a
    conversation.
    """

    def __init__(
        self,
        voice: str,
        profile: ProfileName = "auto",
        controls: ControlValues | None = None,
        *,
        push_to_talk: bool = False,
        presets: list[Preset] | None = None,
    ) -> None:
        self.voice = voice
        self.profile: ProfileName = profile
        self.controls: dict[str, Any] = {**vars(Controls()), **_given(controls)}
        self.push_to_talk = push_to_talk
        self.presets = presets or []
        self.voices: list[str] = []
        self.preset = ""  # the one in force
        self.muted = self.bypass = self.recording = self.over = False
        self.knob = 0
        self.notice = ""
        self._talks_until = -1.0

    def start(self, rate: int, encoding: Encoding, token: str | None) -> Start:
        """How a conversation begins; bypass is off. Raises `ConfigError`."""
        self.bypass = False
        if rate not in RATES:
            raise ConfigError(f"A stream has one of {', '.join(map(str, RATES))} Hz, not {rate}.")
        return Start.model_validate(
            {
                "voice": self.voice,
                "sample_rate": rate,
                "encoding": encoding,
                "profile": self.profile,
                "controls": ControlValues(**self._changed()),
                "token": token,
            }
        )

    def open(self, now: float) -> bool:
        """Whether the microphone is heard at `now`, in seconds."""
        return not self.muted and (not self.push_to_talk or now < self._talks_until)

    def press(self, key: str, now: float) -> list[ClientMessage]:
        """Do what a key asks for; returns what the server must be told."""
        self.notice = ""
        if key in _SWITCHES:
            name = _SWITCHES[key]
            setattr(self, name, not getattr(self, name))
            return [Bypass(on=self.bypass)] if name == "bypass" else []
        if key == " ":
            held = now < self._talks_until
            self._talks_until = max(self._talks_until, now + (REPEAT_S if held else HOLD_S))
        elif key in {"up", "down"}:
            self.knob = (self.knob + (1 if key == "down" else -1)) % len(KNOBS)
        elif key in {"v", "p"}:
            return self._next_voice() if key == "v" else self._next_preset()
        elif key in {"left", "right", "0", "a"}:
            return self._change(key)
        return []

    def _change(self, key: str) -> list[ClientMessage]:
        knob = KNOBS[self.knob].name
        if key == "a":
            return self._set("auto_pitch", not self.controls["auto_pitch"])
        if key == "0":
            return self._set(knob, vars(Controls())[knob])
        return self._turn(1 if key == "right" else -1)

    def heard(self, message: Message) -> None:
        """The server told of a change."""
        match message:
            case ControlsNow():
                self.controls = message.model_dump(exclude={"type"})
            case VoiceNow(voice=voice):
                self.voice = voice
            case _:
                pass

    def as_preset(self, name: str) -> Preset:
        """What is in force, as a preset."""
        return Preset(
            name=name,
            voice=self.voice,
            profile=self.profile,
            controls=ControlValues(**self._changed()),
        )

    def _turn(self, direction: int) -> list[ClientMessage]:
        knob = KNOBS[self.knob]
        low, high = LIMITS[knob.name]
        value = round(self.controls[knob.name] + direction * knob.step, 6)
        return self._set(knob.name, min(high, max(low, value)))

    def _set(self, name: str, value: Any) -> list[ClientMessage]:
        self.controls[name] = value
        self.preset = ""
        return [SetControls(**{name: value})]

    def _next_voice(self) -> list[ClientMessage]:
        if len(self.voices) < 2:
            self.notice = "The server has no other voice."
            return []
        at = self.voices.index(self.voice) if self.voice in self.voices else -1
        self.voice = self.voices[(at + 1) % len(self.voices)]
        self.preset = ""
        return [SetVoice(voice=self.voice)]

    def _next_preset(self) -> list[ClientMessage]:
        if not self.presets:
            self.notice = "No preset is saved. `timbral mic --save-preset NAME` saves one."
            return []
        names = [preset.name for preset in self.presets]
        at = names.index(self.preset) if self.preset in names else -1
        return self.apply(self.presets[(at + 1) % len(names)])

    def apply(self, preset: Preset) -> list[ClientMessage]:
        """Take over a preset's voice and controls; its profile needs a new conversation."""
        self.preset = preset.name
        self.controls = {**vars(Controls()), **_given(preset.controls)}
        messages: list[ClientMessage] = [SetControls(**self.controls)]
        if preset.voice and preset.voice != self.voice:
            self.voice = preset.voice
            messages.append(SetVoice(voice=preset.voice))
        return messages

    def _changed(self) -> dict[str, Any]:
        plain = vars(Controls())
        return {name: value for name, value in self.controls.items() if value != plain[name]}


def _given(controls: ControlValues | None) -> dict[str, Any]:
    return controls.model_dump(exclude_none=True, exclude={"type"}) if controls else {}
