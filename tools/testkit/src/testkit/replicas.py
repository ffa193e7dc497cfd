"""Replicas: two processes in one gloo group, started once per session, that train under DistributedDataParallel."""

import atexit
import io
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from testkit import by_value, streams
from testkit.case import Case
from testkit.problems import MovingQuadratic, initial
from testkit.trajectories import Trajectory, copies

if TYPE_CHECKING:  # not on every platform
    from multiprocessing.context import ForkServerContext, SpawnContext

WORLD = 2
SECONDS = 300  # a rank that says nothing for so long is lost; starting both on a busy machine takes a while
SHAPES = ((), (3,), (4, 5))


class ReplicaError(RuntimeError):
    """A rank raised, or was lost; the message has its traceback."""


class Replicas:
    """Two ranks that wait for cases to train."""

    def __init__(self) -> None:
        context = _context()
        self.folder = tempfile.TemporaryDirectory(prefix="testkit-")
        meeting = (Path(self.folder.name) / "meeting").as_uri()
        self.lines: list[Connection] = []
        self.processes: list[BaseProcess] = []
        for rank in range(WORLD):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(rank, meeting, there), daemon=True)
            process.start()
            there.close()
            self.lines.append(here)
            self.processes.append(process)

    def train(self, case: Case, steps: int) -> list[Trajectory]:
        """Trains a case on every rank, each with data and a global seed of its own; returns what each rank saw.

        Raises:
            ReplicaError: a rank raised, or did not answer.
        """
        order = by_value.dumps((case, steps))
        for line in self.lines:
            line.send_bytes(order)
        deadline = time.monotonic() + SECONDS
        answers: dict[Connection, Trajectory] = {}
        while len(answers) < WORLD:  # in the order they come: where one rank raised, the other waits for it in vain
            ready = wait([line for line in self.lines if line not in answers], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ReplicaError(f"a rank did not answer within {SECONDS} s")
            answers |= {line: _answer(line) for line in cast("list[Connection]", ready)}
        return [answers[line] for line in self.lines]

    def close(self) -> None:
        """Ends both ranks."""
        for line in self.lines:
            line.close()
        for process in self.processes:
            process.terminate()
            process.join()
        self.folder.cleanup()


def _context() -> "SpawnContext | ForkServerContext":
    """Starts ranks by a server that has imported torch once for both, where the platform has such; else one by one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "testkit.replicas"])  # a first step imports torch._dynamo
    return context


@cache
def _running() -> Replicas:
    replicas = Replicas()
    atexit.register(replicas.close)
    return replicas


def train_on_replicas(case: Case, steps: int) -> list[Trajectory]:
    """Trains a case under DistributedDataParallel on two processes, which are started on first use and kept.

    Raises:
        ReplicaError: a rank raised, or did not answer; the next call starts new ones.
    """
    try:
        return _running().train(case, steps)
    except (ReplicaError, OSError):
        end_replicas()
        raise


def end_replicas() -> None:
    """Ends the processes, if any are running."""
    if _running.cache_info().currsize:
        replicas = _running()
        atexit.unregister(replicas.close)
        replicas.close()
        _running.cache_clear()


def _answer(line: Connection) -> Trajectory:
    try:
        answer = line.recv_bytes()
    except EOFError:
        raise ReplicaError("a rank ended without an answer") from None
    found: dict[str, Any] = torch.load(io.BytesIO(answer), weights_only=True)
    if "error" in found:
        raise ReplicaError(found["error"])
    return cast("Trajectory", found["trajectory"])


def _serve(rank: int, meeting: str, line: Connection) -> None:
    """Joins the group, then trains one case after the other until the line is closed."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    dist.init_process_group("gloo", meeting, rank=rank, world_size=WORLD, timeout=timedelta(seconds=SECONDS / 2))
    while True:
        try:
            order = line.recv_bytes()
        except EOFError:
            break
        answer: dict[str, Any]
        try:
            case, steps = pickle.loads(order)
            answer = {"trajectory": _train(case, steps, rank)}
        except Exception:
            answer = {"error": f"rank {rank}: {traceback.format_exc()}"}
        buffer = io.BytesIO()
        torch.save(answer, buffer)
        line.send_bytes(buffer.getvalue())


class _Model(nn.Module):
    """Parameters whose forward pass is the loss of a moving quadratic; they start elsewhere on each rank."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList([initial(shape, 10 * rank + index) for index, shape in enumerate(SHAPES)])

    def forward(self, t: int) -> Tensor:
        return MovingQuadratic(list(self.weights)).loss(t)


def _train(case: Case, steps: int, rank: int) -> Trajectory:
    streams.seed(100 + rank)
    model = _Model(rank)
    replica = DistributedDataParallel(model)
    optimizer = case.make(list(replica.parameters()))
    trajectory: Trajectory = []
    for t in range(steps):

        def closure(t: int = t) -> Tensor:
            replica.zero_grad()
            loss: Tensor = replica(17 * t + 5 * rank)
            torch.autograd.backward(loss)
            return loss.detach()

        if case.contract.closure == "needed":
            optimizer.step(cast("Callable[[], float]", closure))
        else:
            loss = closure()
            if case.contract.feed is not None:
                case.contract.feed(optimizer, loss)
            optimizer.step()
        trajectory.append(copies(model.parameters()))
    return trajectory
