"""The speaker model: the graph against torch's own LSTM, and all of it against Resemblyzer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")

from stream.audio import Audio  # noqa: E402
from stream.errors import BadCheckpoint, DownloadFailed, ModelMismatch, ModelNotFound  # noqa: E402
from stream.importer.graphs.speaker import SHAPES, speaker_model  # noqa: E402
from stream.importer.pull import Source, converter, pull  # noqa: E402
from stream.importer.speakers import add_speaker  # noqa: E402
from stream.models.assets import manifest  # noqa: E402
from stream.models.onnx import OnnxModel  # noqa: E402
from stream.models.speaker import GRAPH, SpeakerModel, pieces  # noqa: E402
from stream.models.store import Store  # noqa: E402

SPEECH = Path(__file__).parent.parent / "speech"
GOLDEN = Path(__file__).parent.parent / "golden" / "resemblyzer.npz"
ID = "speaker-ge2e"


def clip(number: int) -> Audio:
    path = SPEECH / f"sense-and-sensibility-{number:04d}.wav"
    return np.asarray(soundfile.read(path, dtype="float32")[0], np.float32)


def random_weights() -> dict[str, Any]:
    random = np.random.default_rng(3)
    return {name: (0.1 * random.normal(size=s)).astype(np.float32) for name, s in SHAPES.items()}


def add(path: Path, home: Path) -> None:
    add_speaker([path], ID, home, licence="Apache-2.0", source="https://x")


def test_the_graph_equals_torchs_lstm(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    weights = {name: torch.from_numpy(value) for name, value in random_weights().items()}
    lstm: Any = torch.nn.LSTM(40, 256, 3, batch_first=True)
    lstm.load_state_dict({k[5:]: v for k, v in weights.items() if k.startswith("lstm.")})
    mel = np.random.default_rng(1).gamma(1.0, 1.0, (3, 160, 40)).astype(np.float32)
    with torch.no_grad():
        last = lstm(torch.from_numpy(mel))[1][0][-1]
        raw = torch.relu(last @ weights["linear.weight"].T + weights["linear.bias"])
        expected = (raw / raw.norm(dim=1, keepdim=True)).numpy()
    speaker_model(random_weights()).save(tmp_path / GRAPH)
    shapes = {"mel": (None, 160, 40)}, {"embedding": (None, 256)}
    found = OnnxModel(tmp_path / GRAPH, *shapes)(mel=mel)["embedding"]
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: w.pop("lstm.bias_hh_l2"),
        lambda w: w.update({"linear.weight": w["linear.weight"][:, :8]}),
        lambda w: w["linear.bias"].__setitem__(0, np.nan),
    ],
)
def test_another_model_is_refused_and_nothing_installed(tmp_path: Path, spoil: Any) -> None:
    weights = random_weights()
    spoil(weights)
    state = {name: torch.from_numpy(value) for name, value in weights.items()}
    torch.save({"model_state": state, "step": 3}, tmp_path / "x.pt")
    with pytest.raises(BadCheckpoint, match="no GE2E speaker model"):
        add(tmp_path / "x.pt", tmp_path / "home")
    assert not (tmp_path / "home/models" / ID).exists()


def test_an_altered_model_is_refused(tmp_path: Path) -> None:
    state = {name: torch.from_numpy(value) for name, value in random_weights().items()}
    torch.save({"model_state": state, "step": 3}, tmp_path / "x.pt")
    add(tmp_path / "x.pt", tmp_path / "home")
    folder = tmp_path / "home/models" / ID
    assert [(m.id, m.kind) for m in Store(tmp_path / "home").models() if m.where == "store"] == [
        (ID, "speaker")
    ]
    SpeakerModel(folder)
    (folder / GRAPH).write_bytes((folder / GRAPH).read_bytes() + b"\0")
    with pytest.raises(ModelMismatch, match="altered"):
        SpeakerModel(folder)
    with pytest.raises(ModelNotFound, match="timbral models pull"):
        SpeakerModel(tmp_path / "home/models/speaker-other")


@pytest.mark.parametrize("samples", [0, 1, 63, 64, 65, 25_599, 25_600, 44_800, 100_000])
def test_pieces_cover_speech_to_its_last_quarter_of_a_piece(samples: int) -> None:
    starts = pieces(samples)
    assert starts == [77 * i for i in range(len(starts))]
    end = (starts[-1] + 160) * 160
    assert end >= samples - 77 * 160
    assert len(starts) == 1 or samples - starts[-1] * 160 >= 0.75 * 25_600


@pytest.mark.slow
def test_the_published_model_equals_resemblyzer(tmp_path: Path) -> None:
    """The golden embeddings are Resemblyzer's own (tests/golden/make_speaker.py)."""
    try:
        pull([ID], tmp_path, manifest(), Source(), progress=lambda a, b: None, convert=converter)
    except DownloadFailed as error:
        pytest.skip(f"no package index: {error}")
    model = SpeakerModel(tmp_path / "models" / ID)
    with np.load(GOLDEN) as held:
        for name in held:
            number, _, length = name.partition("-")
            heard = clip(int(number))[: int(length)]
            assert np.abs(model(heard) - held[name]).max() <= 1e-4
