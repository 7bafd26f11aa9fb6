"""The streaming layers: any cut gives what one pass gives, and nothing hears the future."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from offline.train.layers import (  # noqa: E402
    CausalConv1d,
    FeedForward,
    LocalAttention,
    Memory,
    ResidualBlock,
    WaveNet,
)

torch.set_num_threads(1)  # the sums here are small: threads only wait for each other
FRAMES, CHANNELS = 50, 8
LAYERS = {
    "convolution": lambda: CausalConv1d(CHANNELS, CHANNELS, 5, dilation=3),
    "attention": lambda: LocalAttention(CHANNELS, heads=2, window=4, reach=9),
    "feed_forward": lambda: FeedForward(CHANNELS, 12, 3),
    "wavenet": lambda: WaveNet(CHANNELS, 5, 2),
    "residual": lambda: ResidualBlock(CHANNELS, 3, 2),
}


def layer(name: str) -> nn.Module:
    torch.manual_seed(0)
    return LAYERS[name]().eval()


def signal(frames: int = FRAMES, seed: int = 1) -> Tensor:
    return torch.randn(1, frames, CHANNELS, generator=torch.Generator().manual_seed(seed))


def in_pieces(net: nn.Module, x: Tensor, cuts: Sequence[int]) -> Tensor:
    past: list[Tensor] | None = None
    out: list[Tensor] = []
    for start, end in pairwise([0, *cuts, x.shape[1]]):
        memory = Memory(past)
        out.append(net(x[:, start:end], memory))
        past = memory.kept
    return torch.cat(out, 1)


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, FRAMES - 1), unique=True, max_size=FRAMES).map(sorted))
def test_pieces_give_the_whole(name: str, cuts: list[int]) -> None:
    net, x = layer(name), signal()
    with torch.no_grad():
        whole, pieces = net(x, Memory()), in_pieces(net, x, cuts)
    assert (pieces - whole).abs().max() < 1e-5 * whole.abs().max()


@pytest.mark.parametrize("name", LAYERS)
def test_the_future_is_not_heard(name: str) -> None:
    net, x = layer(name), signal()
    changed = x.clone()
    changed[:, 30:] = 3.0
    with torch.no_grad():
        torch.testing.assert_close(net(changed, Memory())[:, :30], net(x, Memory())[:, :30])


@pytest.mark.parametrize("dilation", [1, 4])
def test_a_causal_convolution_is_torchs_own_after_padding(dilation: int) -> None:
    torch.manual_seed(0)
    net, x = CausalConv1d(CHANNELS, 5, 3, dilation), signal()
    padded = nn.functional.pad(x.transpose(1, 2), (2 * dilation, 0))
    plain = nn.functional.conv1d(padded, net.weight, net.bias, dilation=dilation)
    torch.testing.assert_close(net(x, Memory()), plain.transpose(1, 2))


def test_attention_reaches_as_far_back_as_it_says() -> None:
    net, x = layer("attention"), signal()
    near, far = x.clone(), x.clone()
    near[:, 30 - 8] = 3.0
    far[:, 30 - 9] = 3.0
    with torch.no_grad():
        before = net(x, Memory())[:, 30]
        assert not torch.allclose(net(near, Memory())[:, 30], before)
        torch.testing.assert_close(net(far, Memory())[:, 30], before)


def test_attention_knows_the_order_of_frames() -> None:
    net, x = layer("attention"), signal()
    swapped = x.clone()
    swapped[:, [28, 29]] = x[:, [29, 28]]
    with torch.no_grad():
        assert not torch.allclose(net(x, Memory())[:, 30], net(swapped, Memory())[:, 30])


def test_the_memory_has_a_fixed_size() -> None:
    for name in LAYERS:
        sizes = []
        for frames in (1, 2, 40):
            memory = Memory()
            layer(name)(signal(frames), memory)
            sizes.append([tuple(t.shape) for t in memory.kept])
        assert sizes[0] == sizes[1] == sizes[2]
