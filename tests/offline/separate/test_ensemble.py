"""Several separators as one."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from separators import VOCALS, Middle, noise, scaled, taken_apart

from offline.separate import ensemble
from offline.separate.ensemble import Domain, Ensemble, Method, join, together
from offline.separate.protocol import Progress, Song, SongInMemory
from offline.separate.roles import TASKS
from offline.separate.windowed import Windowed
from stream.audio import Audio
from stream.errors import Cancelled, ConfigError

METHODS: tuple[Method, ...] = get_args(Method)
DOMAINS: tuple[Domain, ...] = get_args(Domain)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("method", METHODS)
def test_members_that_agree_are_left_as_they_are(method: Method, domain: Domain) -> None:
    x = noise(70_000)
    one = Windowed(Middle(), VOCALS, "")
    wanted = taken_apart(one, x)
    found = taken_apart(Ensemble((one, one, one), method, domain), x)
    for name, stem in found.items():
        assert stem.shape == x.shape
        assert np.abs(stem - wanted[name]).max() < 0.5 * 10 ** (-90 / 20)
    np.testing.assert_allclose(found["vocals"] + found["instrumental"], x, atol=1e-6)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(
    ("method", "weights", "gain"),
    [
        ("mean", (), 0.7 / 3),
        ("mean", (1.0, 1.0, 0.0), 0.15),
        ("mean", (0.0, 0.0, 2.0), 0.4),
        ("median", (), 0.2),
        ("median", (0.0, 0.0, 1.0), 0.4),
        ("median", (1.0, 1.0, 0.0), 0.15),
        ("min", (), 0.1),
        ("max", (), 0.4),
    ],
)
def test_methods_and_weights_do_what_they_say(
    method: Method, weights: tuple[float, ...], gain: float, domain: Domain
) -> None:
    x = noise(70_000)
    members = (scaled(0.1), scaled(0.2), scaled(0.4))
    found = taken_apart(Ensemble(members, method, domain, weights), x)["vocals"]
    np.testing.assert_allclose(found, x * gain, atol=2e-5)


def test_bins_are_joined_each_for_itself() -> None:
    """Each member lacks one of two tones: only where bins are joined, the louder has both."""
    t = np.arange(90_000) / 44_100
    tones = [np.sin(2 * np.pi * hz * t)[:, np.newaxis].repeat(2, axis=1) for hz in (500, 3000)]
    parts = np.array(tones, np.float32) * 0.3
    members = (Fixed(parts[0]), Fixed(parts[1]))
    inside = slice(5_000, -5_000)
    song = SongInMemory(parts.sum(axis=0), 44_100)
    both = np.concatenate(list(Ensemble(members, "max", "bins").stream(song)), axis=1)[0]
    np.testing.assert_allclose(both[inside], parts.sum(axis=0)[inside], atol=2e-3)
    none = np.concatenate(list(Ensemble(members, "min", "bins").stream(song)), axis=1)[0]
    assert np.abs(none[inside]).max() < 2e-3
    waves = np.concatenate(list(Ensemble(members, "max", "wave").stream(song)), axis=1)[0]
    assert np.abs(waves - parts.sum(axis=0))[inside].max() > 0.1


@dataclass(frozen=True)
class Fixed:
    """A separator that gives the same voice whatever the song."""

    voice: Audio
    target: str = "vocals"
    rest: str = "instrumental"
    stems: tuple[str, ...] = ("vocals", "instrumental")
    digest: str = "fixed"
    meet: threading.Barrier | None = None

    def stream(self, song: Song, *, progress: Progress | None = None) -> Iterator[Audio]:
        if self.meet:
            self.meet.wait(30)
        for start in range(0, len(self.voice), 10_000):
            piece = self.voice[start : start + 10_000]
            yield np.stack([piece, -piece])


def test_members_work_side_by_side() -> None:
    """Each waits for the other: one after the other they would wait for ever."""
    voice = noise(30_000)
    meet = threading.Barrier(2)
    members = (Fixed(voice, meet=meet), Fixed(voice, meet=meet))
    found = taken_apart(Ensemble(members), voice)
    np.testing.assert_allclose(found["vocals"], voice, atol=1e-6)


def test_to_stop_ends_all_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "STEP", 5_000)

    def stop(done: int, _: int) -> None:
        raise Cancelled

    before = threading.active_count()
    with pytest.raises(Cancelled):
        list(
            Ensemble((scaled(0.1), scaled(0.2))).stream(
                SongInMemory(noise(90_000), 44_100), progress=stop
            )
        )
    assert threading.active_count() == before


def test_ensembles_that_make_no_sense_are_refused() -> None:
    one, two = scaled(0.1), scaled(0.2)
    for weights, why in (
        ((1.0,), "one weight for each"),
        ((1.0, -1.0), "0 or more"),
        ((0.0, 0.0), "not all 0"),
        ((1.0, float("nan")), "0 or more"),
    ):
        with pytest.raises(ConfigError, match=why):
            Ensemble((one, two), weights=weights)
    with pytest.raises(ConfigError, match="no meaning for max"):
        Ensemble((one, two), "max", weights=(1.0, 1.0))
    with pytest.raises(ConfigError, match="needs a model"):
        Ensemble(())
    with pytest.raises(ConfigError, match="one gives vocals, another dry"):
        Ensemble((one, scaled(0.2, TASKS["dereverb"])))


def test_the_digest_tells_members_and_method_apart() -> None:
    members = (scaled(0.1), scaled(0.2))
    ensembles = [
        Ensemble(members),
        Ensemble(members[::-1]),
        Ensemble(members, "max"),
        Ensemble(members, "max", "bins"),
        Ensemble(members, weights=(1.0, 2.0)),
        members[0],
    ]
    assert len({each.digest for each in ensembles}) == len(ensembles)
    assert Ensemble(members).digest == Ensemble(members, weights=(2.0, 2.0)).digest
    assert together(members[:1], "max", "bins", ()) is members[0]


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 4)), min_size=1, max_size=6),
)
def test_the_weighted_median_is_the_median_of_repeated_values(pairs: list[tuple[int, int]]) -> None:
    values = np.array([[value] for value, _ in pairs], np.float32)
    counts = np.array([count for _, count in pairs], np.float32)
    repeated = np.repeat(values[:, 0], counts.astype(int))
    assert join(values, "median", counts / counts.sum())[0] == pytest.approx(np.median(repeated))
