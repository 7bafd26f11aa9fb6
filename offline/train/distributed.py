"""Several processes that train one voice, each on its part of every batch.

`torchrun` starts them and tells each its rank; without it there is one, and no process group.
Gradients are averaged once an update, after all of its batches, in one piece.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Team:
    """The processes of a run as one of them sees it."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        """Whether this one writes files and talks."""
        return self.rank == 0

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Replace each by its mean over the team. [any shape] each, the same on all ranks."""
        if self.world == 1 or not gradients:
            return
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].reshape(gradient.shape))
            start += gradient.numel()

    def agree(self, value: float) -> float:
        """What the leader has."""
        if self.world == 1:
            return value
        held = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(held, 0)
        return float(held)

    def any(self, value: bool) -> bool:
        """Whether it is true for anybody."""
        if self.world == 1:
            return value
        held = torch.tensor([float(value)], device=self.device)
        dist.all_reduce(held, dist.ReduceOp.MAX)
        return bool(held)

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def team(device: torch.device) -> Generator[Team, None, None]:
    """The team that `torchrun` started, or a team of one; it parts again afterwards."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Team(device=device)
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(rank, world, device)
    finally:
        dist.destroy_process_group()


def launched() -> bool:
    """Whether this process is one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(count: int, program: Iterable[str]) -> list[str]:
    """The command that runs a Python program in `count` processes: ["-m", "timbral", "train"].

    They meet at a port that the operating system picks, on this machine only.
    """
    runner = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1"]
    meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    return [*runner, *meeting, f"--nproc-per-node={count}", *program]
