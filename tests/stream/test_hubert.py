from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_encoder import BASE, NARROW, random_encoder, random_weights

from stream.audio import Audio
from stream.device import CPU
from stream.importer.graphs.hubert import HubertShape
from stream.models.content import EncoderCard
from stream.models.hubert import NORM_FRAMES, HubertEncoder
from stream.models.voice import ENCODER_CARD

HOP, OVERHANG = 320, 80
PROJECTED = replace(NARROW, layers=2, projected=True, dim=24)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> HubertEncoder:
    return load(random_encoder(tmp_path_factory.mktemp("home"), shape=NARROW))


def load(folder: Path) -> HubertEncoder:
    card = EncoderCard.model_validate_json((folder / ENCODER_CARD).read_text("utf-8"))
    return HubertEncoder(folder, card, CPU)


def reference(shape: HubertShape, seed: int = 0) -> Any:
    """The same weights in `transformers.HubertModel`, an independent implementation."""
    from transformers.models.hubert.configuration_hubert import HubertConfig
    from transformers.models.hubert.modeling_hubert import HubertModel

    config = HubertConfig(
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        conv_dim=(shape.channels,) * len(shape.kernels),
        num_conv_pos_embeddings=shape.reach,
        num_conv_pos_embedding_groups=shape.groups,
    )
    weights = {name: torch.from_numpy(value) for name, value in random_weights(shape, seed).items()}
    kernel = weights.pop("encoder.pos_conv_embed.conv.weight")
    norm = "encoder.pos_conv_embed.conv.parametrizations.weight.original"
    weights |= {f"{norm}0": kernel.norm(dim=(0, 1), keepdim=True), f"{norm}1": kernel}
    model = HubertModel(config).eval()
    assert not model.load_state_dict(weights, strict=False).unexpected_keys
    return model


def whole_pass(encoder: HubertEncoder, shape: HubertShape, audio: Audio, described: int) -> Audio:
    """The last `described` frames of one pass over audio [320 k + 80].

    `transformers` normalises over the outputs that hear the last 80 samples as well; a live
    encoder has zeros there and leaves them out, so here they count as heard before.
    """
    first = random_weights(replace(shape, layers=0))  # drawn in the same order
    kernel = first["feature_extractor.conv_layers.0.conv.weight"][:, 0]
    starts = range(len(audio) - OVERHANG - 5, len(audio) - 5, 5)
    late = np.stack([audio[at : at + 10] for at in starts]) @ kernel.T
    past = np.stack([late.sum(axis=0), (late**2).sum(axis=0)])
    frames, _ = encoder.front(audio, past, len(late))
    return encoder.body(frames[:-described], frames[-described:])


def distance(found: Audio, expected: Audio) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(
    "shape", [NARROW, pytest.param(BASE, marks=pytest.mark.slow)], ids=["narrow", "base"]
)
def test_a_whole_pass_is_that_of_transformers(
    tmp_path: Path, speech: Audio, shape: HubertShape
) -> None:
    audio = speech[: 60 * HOP + OVERHANG]
    with torch.no_grad():
        expected = reference(shape)(torch.from_numpy(audio[np.newaxis].copy()))
    found = whole_pass(load(random_encoder(tmp_path, shape=shape)), shape, audio, described=25)
    assert distance(found, expected.last_hidden_state[0, -25:].numpy()) < 1e-5


def test_a_middle_layer_and_its_projection_come_out_for_older_voices(
    tmp_path: Path, speech: Audio
) -> None:
    audio = speech[: 40 * HOP + OVERHANG]
    encoder = load(random_encoder(tmp_path, shape=PROJECTED))
    weights = random_weights(PROJECTED, final=True)
    with torch.no_grad():
        hidden = reference(PROJECTED)(torch.from_numpy(audio[np.newaxis].copy()))
    layer = hidden.last_hidden_state[0].numpy()
    expected = layer @ weights["final_proj.weight"].T + weights["final_proj.bias"]
    found = whole_pass(encoder, PROJECTED, audio, described=40)
    assert found.shape == (40, 24)
    assert distance(found, expected) < 1e-5


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_a_frame_is_the_same_whatever_the_cut_when_the_statistics_are(
    encoder: HubertEncoder, speech: Audio, cuts: list[int]
) -> None:
    total = sum(cuts)
    past = np.stack([np.full(32, 5e6), np.full(32, 4e10)])
    count = 10**12  # outweighs the call's own
    audio = speech[: total * HOP + OVERHANG]
    once = encoder.front(audio, past, count)[0]
    at = 0
    for n in cuts:
        part = audio[at * HOP : (at + n) * HOP + OVERHANG]
        frames, _ = encoder.front(part, past, count)
        np.testing.assert_allclose(frames, once[at : at + n], atol=2e-5)
        at += n


@pytest.mark.parametrize("hop", [2, 3, 8])
def test_the_front_end_normalises_over_all_that_was_heard(
    encoder: HubertEncoder, speech: Audio, hop: int
) -> None:
    hearing = encoder.open(delay=0, context=20)
    heard = 48
    for at in range(0, heard, hop):
        hearing.step(speech[at * HOP : (at + hop) * HOP])
    audio = torch.from_numpy(speech[np.newaxis, : heard * HOP].copy())
    model = reference(NARROW)
    with torch.no_grad():
        expected = model.feature_projection(model.feature_extractor(audio).transpose(1, 2))[0]
    found = hearing._frames[-hop:-1]  # pyright: ignore[reportPrivateUsage]
    assert distance(found, expected.numpy()[1 - hop :]) < 1e-5


def test_a_frame_is_computed_once_but_for_the_newest(encoder: HubertEncoder, speech: Audio) -> None:
    hearing = encoder.open(delay=0, context=50)
    hearing.hear(speech[: 5 * HOP])
    before = hearing._frames.copy()  # pyright: ignore[reportPrivateUsage]
    hearing.hear(speech[5 * HOP : 12 * HOP])
    after = hearing._frames  # pyright: ignore[reportPrivateUsage]
    assert len(after) == 12
    np.testing.assert_array_equal(after[:4], before[:4])
    assert np.abs(after[4] - before[4]).max() > 1e-3  # had zeros where there was speech to come


def test_one_step_over_a_recording_hears_it_all(encoder: HubertEncoder, speech: Audio) -> None:
    audio = speech[: 90 * HOP]
    once = encoder.open(delay=0, context=0).step(audio)
    rest = np.concatenate([audio, np.zeros(OVERHANG, np.float32)])
    frames, _ = encoder.front(rest, np.zeros((2, NARROW.channels), np.float32), 0)
    expected = encoder.body(frames[:0], frames)
    np.testing.assert_allclose(once, expected, atol=1e-5)


def test_frames_before_the_stretch_are_zeros_unless_it_was_heard(
    encoder: HubertEncoder, speech: Audio
) -> None:
    early = encoder.open(delay=4, context=10).step(speech[: 2 * HOP])
    assert early.shape == (6, NARROW.dim)
    assert not early[:4].any()
    assert early[4:].all()
    hearing = encoder.open(delay=4, context=10)
    hearing.hear(speech[: 4 * HOP])
    assert hearing.step(speech[4 * HOP : 6 * HOP]).all()


@pytest.mark.parametrize("context", [6, 160])
def test_what_lies_behind_the_window_is_forgotten(
    encoder: HubertEncoder, speech: Audio, context: int
) -> None:
    delay, hop = 2, 5
    window = context + hop + delay
    kept = -(-(window + max(window, NORM_FRAMES)) // hop) * hop + hop
    audio = speech[: (40 + kept) * HOP]
    other = audio.copy()
    other[: 40 * HOP] *= 0.2
    results: list[Audio] = []
    for sound in (audio, other):
        hearing = encoder.open(delay, context)
        steps = range(0, len(sound), hop * HOP)
        results.append([hearing.step(sound[at : at + hop * HOP]) for at in steps][-1])
        assert len(hearing._frames) == window  # pyright: ignore[reportPrivateUsage]
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)


def test_context_and_look_ahead_bring_a_stream_nearer_to_the_whole(
    encoder: HubertEncoder, speech: Audio
) -> None:
    whole = encoder.open(0, 0).step(speech[: 200 * HOP])
    sizes = ((0, 5), (2, 25), (10, 100))
    far = [distance(streamed(encoder, speech, *size), whole[100:180]) for size in sizes]
    assert far[0] > 1.1 * far[1] > 1.2 * far[2]


def streamed(encoder: HubertEncoder, speech: Audio, delay: int, context: int) -> Audio:
    """The committed features of frames 100..180, in hops of 5."""
    hearing = encoder.open(delay, context)
    parts = [hearing.step(speech[at * HOP : (at + 5) * HOP])[:5] for at in range(0, 180 + delay, 5)]
    return np.concatenate(parts)[100 + delay : 180 + delay]


def test_window_sizes_are_frames(encoder: HubertEncoder) -> None:
    with pytest.raises(ValueError, match="not -1 and 5"):
        encoder.open(-1, 5)
