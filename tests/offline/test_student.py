"""The content student: streaming, look-ahead, growth, and the file that is made of it."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor  # noqa: E402

from offline.train.export import export_student  # noqa: E402
from offline.train.student import (  # noqa: E402
    FRAME_SAMPLES,
    STUDY_BLOCKS,
    BlockShape,
    Student,
    StudentShape,
    average,
    grow,
)
from stream.audio import Audio  # noqa: E402
from stream.device import CPU  # noqa: E402
from stream.models.content import StudentEncoder, StudentHearing  # noqa: E402
from stream.models.voice import load_encoder  # noqa: E402

torch.set_num_threads(1)  # the sums here are small: threads only wait for each other
SMALL = StudentShape(
    width=16,
    hidden=24,
    blocks=(BlockShape(1, 1), BlockShape(2), BlockShape(1, 1), BlockShape(4)),
    features=8,
    phones=4,
)
FRAMES = 40


def student(shape: StudentShape = SMALL, seed: int = 0) -> Student:
    torch.manual_seed(seed)
    return Student(shape).eval()


def sound(frames: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(1, frames * FRAME_SAMPLES, generator=generator)


@settings(max_examples=25)
@given(st.lists(st.integers(1, FRAMES - 1), unique=True, max_size=FRAMES).map(sorted))
def test_pieces_give_the_features_of_the_whole(cuts: list[int]) -> None:
    net, audio = student(), sound(FRAMES)
    with torch.no_grad():
        whole, last = net(audio, net.zero_state())
        state, found = net.zero_state(), []
        for start, stop in zip([0, *cuts], [*cuts, FRAMES], strict=True):
            piece = audio[:, start * FRAME_SAMPLES : stop * FRAME_SAMPLES]
            features, state = net(piece, state)
            found.append(features)
    assert torch.allclose(torch.cat(found, 1), whole, atol=1e-5)
    assert state.keys() == last.keys()
    assert all(torch.allclose(state[k], last[k], atol=1e-5) for k in state)


def test_a_state_keeps_its_shape() -> None:
    net = student()
    before = net.zero_state(batch=1)
    with torch.no_grad():
        _, after = net(sound(1), before)
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in before.items()}


def test_a_frame_hears_its_delay_ahead_and_no_further() -> None:
    net, audio = student(), sound(FRAMES)
    changed = audio.clone()
    at = 20
    changed[:, at * FRAME_SAMPLES :] += 0.1
    with torch.no_grad():
        a, _ = net(audio, net.zero_state())
        b, _ = net(changed, net.zero_state())
    moved = (a - b).abs().amax(dim=(0, 2)) > 1e-6
    # output frame j describes input frame j - delay: those before `at` cannot know of the change
    assert not moved[:at].any()
    assert moved[at]


@pytest.mark.slow
def test_growing_keeps_the_function() -> None:
    study = student(StudentShape(hidden=448, blocks=STUDY_BLOCKS))
    grown = grow(study.state_dict()).eval()
    later = grown.delay_frames - study.delay_frames
    assert (study.delay_frames, later) == (1, 1)
    audio = sound(190)
    with torch.no_grad():
        before, _ = study(audio, study.zero_state())
        after, _ = grown(audio, grown.zero_state())
    settled = 120  # frames after which nothing of the empty memory is left
    assert torch.allclose(after[:, settled + later :], before[:, settled:-later], atol=1e-4)


def test_an_average_lies_in_the_middle() -> None:
    a, b = student(seed=1).state_dict(), student(seed=2).state_dict()
    middle = average(a, b)
    assert all(torch.allclose(middle[k], (a[k] + b[k]) / 2) for k in a)


def test_the_exported_file_hears_what_the_student_hears(tmp_path: Path) -> None:
    net, audio = student(), sound(FRAMES)
    export_student(net, tmp_path)
    encoder = load_encoder(tmp_path, CPU)
    assert isinstance(encoder, StudentEncoder)
    assert encoder.card.delay_frames == net.delay_frames == 2
    hearing, found = StudentHearing(encoder.model, encoder.model.initial_state()), list[Audio]()
    sizes = sorted(tuple(value.shape) for value in net.zero_state().values())
    assert sorted(part.shape for part in hearing.state) == sizes
    at = 0
    for frames in (1, 2, 5, 1, 31):
        piece = audio[0, at * FRAME_SAMPLES : (at + frames) * FRAME_SAMPLES].numpy()
        found.append(hearing.step(piece))
        at += frames
    with torch.no_grad():
        whole, _ = net(audio, net.zero_state())
    expected = whole[0].numpy()
    error = np.concatenate(found) - expected
    assert error.std() < 0.03 * expected.std()  # eight bits a weight: -30 dB
