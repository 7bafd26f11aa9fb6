"""The laws of a separator, on networks whose answers are known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from separators import VOCALS, Middle, Same, noise, taken_apart

from offline.separate.protocol import SongFile, SongInMemory
from offline.separate.roles import Roles, roles_of
from offline.separate.windowed import Windowed
from offline.sound import Sound, write
from stream.audio import Audio
from stream.errors import AudioError, Cancelled, ConfigError


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("frames", [1, 63, 64, 65, 30_011])
def test_stems_are_as_long_as_the_song_and_sum_to_it(rate: int, frames: int) -> None:
    x = noise(frames)
    stems = taken_apart(Windowed(Middle(), VOCALS, ""), x, rate)
    assert list(stems) == ["vocals", "instrumental"]
    assert {len(stem) for stem in stems.values()} == {frames}
    np.testing.assert_allclose(stems["vocals"] + stems["instrumental"], x, atol=1e-6)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_stems_stay_in_their_places(rate: int) -> None:
    t = np.arange(2 * rate) / rate
    tone = np.sin(2 * np.pi * 440 * t * (1 + 0.1 * t))
    x = (0.4 * np.stack([tone, tone], axis=1)).astype(np.float32)
    found = taken_apart(Windowed(Same(), VOCALS, ""), x, rate)["vocals"]
    inside = slice(500, -500)  # at the very ends, converters of rates hear silence beyond
    np.testing.assert_allclose(found[inside], x[inside], atol=1e-4)


@pytest.mark.parametrize("gain", [1e-4, 0.5, 2.0, 8.0])
def test_a_louder_song_gives_louder_stems(gain: float) -> None:
    separator = Windowed(Middle(), VOCALS, "")
    x = noise(20_000, peak=0.8)
    usual = taken_apart(separator, x)
    for name, stem in taken_apart(separator, x * np.float32(gain)).items():
        np.testing.assert_allclose(stem, usual[name] * gain, atol=1e-6 * gain)


def test_a_network_that_gives_the_rest_gives_the_same_as_one_that_gives_the_target() -> None:
    x = noise(10_000)
    target = taken_apart(Windowed(Same(("vocals",), (0.3,)), VOCALS, ""), x)
    rest = taken_apart(Windowed(Same(("instrumental",), (0.7,)), VOCALS, ""), x)
    for name in target:
        np.testing.assert_allclose(rest[name], target[name], atol=1e-6)


def test_what_else_a_network_gives_is_kept() -> None:
    net = Same(("drums", "bass", "other", "vocals"), (0.1, 0.2, 0.3, 0.4))
    stems = taken_apart(Windowed(net, VOCALS, ""), noise(10_000))
    assert list(stems) == ["vocals", "instrumental", "drums", "bass", "other"]
    x = noise(10_000)
    for name, gain in {"vocals": 0.4, "instrumental": 0.6, "bass": 0.2}.items():
        np.testing.assert_allclose(stems[name], x * gain, atol=1e-6)


@pytest.mark.parametrize("rate", [44_100, 32_000])
def test_a_file_gives_what_the_same_samples_give(rate: int, tmp_path: Path) -> None:
    """A file comes in pieces: they change nothing. One pass and pieces are the same."""
    x = noise(5 * rate)
    write(tmp_path / "a.wav", Sound(x, rate))
    separator = Windowed(Middle(window=50_000), VOCALS, "")
    whole = taken_apart(separator, x, rate)
    parts = np.concatenate(list(separator.stream(SongFile(tmp_path / "a.wav"))), axis=1)
    exact = 0 if rate == 44_100 else 2e-5  # the rate is changed in one go, or in pieces
    np.testing.assert_allclose(parts[0], whole["vocals"], atol=exact)


def test_mono_and_surround_become_stereo() -> None:
    for channels in (1, 6):
        stems = taken_apart(Windowed(Middle(), VOCALS, ""), noise(5_000, channels))
        assert stems["vocals"].shape == (5_000, 2)


def test_silence_stays_silence_and_nothing_is_refused() -> None:
    stems = taken_apart(Windowed(Middle(), VOCALS, ""), np.zeros((9_000, 2), np.float32))
    assert not any(stem.any() for stem in stems.values())
    with pytest.raises(AudioError, match="no sound"):
        taken_apart(Windowed(Middle(), VOCALS, ""), np.zeros((0, 2), np.float32))


def test_progress_ends_with_all_and_may_end_the_work() -> None:
    song = SongInMemory(noise(40_000), 44_100)
    separator = Windowed(Middle(), VOCALS, "")
    told: list[tuple[int, int]] = []
    list(separator.stream(song, progress=lambda done, all_: told.append((done, all_))))
    assert told == sorted(told)
    assert told[-1] == (40_000, 40_000)

    def stop(done: int, _: int) -> None:
        if done > 9_000:
            raise Cancelled

    with pytest.raises(Cancelled):
        list(separator.stream(song, progress=stop))


def test_a_network_without_a_part_in_the_roles_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="drums"):
        Windowed(Same(("drums",)), VOCALS, "")


@pytest.mark.parametrize(
    ("names", "task", "roles", "ours"),
    [
        (["Vocals", "Instrumental"], None, VOCALS, ("vocals", "instrumental")),
        (["vocals", "other"], None, VOCALS, ("vocals", "instrumental")),
        (["drums", "bass", "other", "vocals"], None, VOCALS, ("drums", "bass", "other", "vocals")),
        (["No_Reverb"], None, Roles("dry", "reverb"), ("dry",)),
        (["noise"], None, Roles("clean", "noise"), ("noise",)),
        (["karaoke", "other"], "lead", Roles("lead", "backing"), ("lead", "other")),
    ],
)
def test_published_names_of_stems_are_understood(
    names: list[str], task: str, roles: Roles, ours: tuple[str, ...]
) -> None:
    assert roles_of(names, task) == (roles, ours)  # pyright: ignore[reportArgumentType]


def test_names_that_say_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="Nothing says what drums"):
        roles_of(["Drums"])
    with pytest.raises(ConfigError, match="no stem to take dry from"):
        roles_of(["Vocals"], "dereverb")


@dataclass(frozen=True)
class Loudest:
    """Remembers the loudest sample that it was shown."""

    shown: list[float]
    stems: tuple[str, ...] = ("vocals",)
    window: int = 1000
    edge: int = 0
    rate: int = 44_100

    def __call__(self, x: Audio) -> Audio:
        self.shown.append(float(np.abs(x).max()))
        return x[np.newaxis]


@pytest.mark.parametrize("peak", [0.01, 3.0])
def test_networks_hear_every_song_at_one_level(peak: float) -> None:
    net = Loudest([])
    taken_apart(Windowed(net, VOCALS, ""), noise(10_000, peak=peak))
    assert max(net.shown) == pytest.approx(0.9, rel=1e-4)
