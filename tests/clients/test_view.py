import io
import time
from dataclasses import replace

import pytest
from rich.console import Console
from tiny_server import stats

from clients.desk import KEYS, Desk
from clients.devices import Device
from clients.mic import HERE, Scene, voice_names
from clients.portaudio import Calls, Stream
from clients.pressure import GIVEN_UP
from clients.rings import Ear, Mouth
from clients.sound import Bell, Sound
from clients.talk import Figures, Talk
from clients.view import budget, hint, line, meter, picture
from server.protocol import Ready
from stream.errors import LinkError
from stream.ladder import STEPS

RATE = 48_000
READY = Ready(
    session="s",
    voice="ada",
    sample_rate=RATE,
    encoding="s16le",
    hop_samples=960,
    latency_samples=3000,
    provider="CPU",
    profile="low",
    why="",
)


class Silence:
    """A stream of PortAudio that does nothing."""

    latency = 0.01
    active = True


def scene(desk: Desk | None = None) -> Scene:
    desk = desk or Desk("ada")
    mic = Device(0, "Yeti X", "ALSA", 2, 0, 48e3, portaudio=0)
    out = Device(1, "CABLE Input", "WASAPI", 0, 2, 48e3, portaudio=1)
    ear, mouth, bell = Ear(RATE), Mouth(RATE), Bell()
    bell.close()
    streams = [Stream(device, Silence(), Calls()) for device in (mic, out)]
    sound = Sound(RATE, 240, ear, (mouth,), streams[0], (streams[1],), "CABLE Output", None, bell)
    talk = Talk(ear, [mouth], desk, bell.wait, 240)
    talk.figures = Figures(
        ready=READY, stats=stats(), round_trip=1.0, answer=80.0, level_in=0.5, level_out=0.1
    )
    talk.figures.buffers = [mouth.begin()]
    return Scene(desk, "ws://x", "on air", False, sound, talk)


def shown(what: Scene) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(picture(what, time.monotonic()))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_all_that_matters_is_shown() -> None:
    text = shown(scene())
    for word in ["ON AIR", "ada on CPU", "Yeti X", "CABLE Output", "together", "underruns 0"]:
        assert word in text
    for stage in ["microphone", "conversion", "computing", "on the way", "jitter", "loudspeaker"]:
        assert stage in text
    for key, what in KEYS:
        if what != "talk":
            assert f"{key} {what}" in text.replace("\n", "")
    assert "pitch 0st" in text


def test_the_stages_sum_up_to_what_was_measured() -> None:
    rows = budget(scene())
    by_name = {name: ms for name, ms, _ in rows}
    answer = by_name["conversion"] + by_name["computing"] + by_name["on the way"]
    assert answer == pytest.approx(80.0)
    assert by_name["microphone"] == by_name["loudspeaker"] == 10.0


def test_what_is_switched_is_seen_at_once() -> None:
    desk = Desk("ada", push_to_talk=True)
    here = scene(desk)
    desk.muted = desk.bypass = True
    text = shown(here)
    for word in ["MUTED", "BYPASS", "hold space to talk", "space talk"]:
        assert word in text


def test_away_is_shown_with_the_reason_and_never_as_on_air() -> None:
    here = replace(scene(), state="No server answers.", away=True)
    assert "AWAY" in shown(here)
    assert "No server answers." in shown(here)
    assert "Trying again" not in shown(here)
    assert "ON AIR" not in shown(here)
    assert Scene(Desk("ada"), "here").state in shown(Scene(Desk("ada"), "here"))


def test_where_there_is_no_terminal_one_line_tells() -> None:
    assert line(scene(), 0.0).startswith("on air: ada on CPU, profile low, latency ")
    assert line(Scene(Desk("ada"), "here"), 0.0) == "starting"


def test_the_time_to_the_next_attempt_is_counted_down() -> None:
    here = Scene(Desk("ada"), "ws://x", "All 4 streams of this server are in use.", retry_at=105.0)
    for now, left in ((100.0, 5), (101.5, 4), (104.9, 1), (110.0, 1)):
        assert line(here, now) == f"{here.state} Trying again in {left} s."
    console = Console(file=io.StringIO(), width=100)
    console.print(picture(here, 102.0))
    assert isinstance(console.file, io.StringIO)
    assert "Trying again in 3 s." in " ".join(console.file.getvalue().split())


def test_what_a_busy_machine_gives_up_is_said_with_what_it_means_for_the_latency() -> None:
    here = scene()
    assert "busy" not in shown(here) + line(here, 0.0)
    assert here.talk
    told = here.talk.figures.stats
    assert told
    for eased, more, what, latency in (
        ("light pitch", 0, "the pitch is found the light way", "latency is as before"),
        ("less context", 0, "voices of full size hear less of the past", "latency is as before"),
        ("longer hops", 960, "longer pieces are converted at once", "latency is 20 ms more"),
        ("something new", 0, "something new", "latency is as before"),
    ):
        samples = READY.latency_samples + more
        here.talk.figures.stats = told.model_copy(
            update={"eased": eased, "latency_samples": samples}
        )
        for text in (line(here, 0.0), " ".join(shown(here).replace("│", " ").split())):
            assert "The server is busy" in text
            assert what in text
            assert latency in text
    assert "This machine is busy" in line(replace(here, where=HERE), 0.0)


def test_every_step_that_may_be_given_up_has_words() -> None:
    assert set(GIVEN_UP) == {step.name for step in STEPS if step.name}


def test_a_microphone_that_is_dead_is_explained() -> None:
    here = scene()
    assert hint(here) == ""
    assert here.talk
    here.talk.figures.silent = 4 * RATE
    assert "Privacy" in hint(here)
    assert "Privacy" in shown(here)


@pytest.mark.parametrize(
    ("level", "marks"), [(0.0, 0), (1e-9, 0), (0.001, 0), (0.0316, 12), (1.0, 24), (7.0, 24)]
)
def test_a_meter_is_on_a_scale_of_decibels(level: float, marks: int) -> None:
    assert meter(level).count("#") == marks
    assert len(meter(level)) == 24


def test_a_server_that_tells_no_voices_is_an_error() -> None:
    with pytest.raises(LinkError, match="voices"):
        voice_names("ws://127.0.0.1:1", "secret")
