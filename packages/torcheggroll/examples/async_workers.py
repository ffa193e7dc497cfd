"""Evaluate members on worker processes: whoever is free takes the next, results come in any order, some never.

python examples/async_workers.py --epochs 12

A worker holds the same model and settings; a member travels to it as three integers. Every epoch begins with the
weights of the centre; a simulation that hangs is given up after a while, and its pair does not count.
"""

import argparse
import multiprocessing
import random
import time
from concurrent.futures import ProcessPoolExecutor, wait

import torch
from torch import Tensor, nn
from torcheggroll import MemberSpec, TorchEggrollES

PATIENCE = 3.0  # seconds without any result
HANGS = 0.01  # of all evaluations


def make() -> TorchEggrollES:
    """Build the same optimizer here and on every worker."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
    return TorchEggrollES(model, pop_size=32, sigma=0.1, lr=0.5, seed=0, process_group=False)


_workers: list[TorchEggrollES] = []  # one in each worker process


def begin() -> None:
    """Prepare a worker process."""
    torch.set_num_threads(1)
    _workers.append(make())


def evaluate(spec: MemberSpec, centre: dict[str, Tensor]) -> tuple[MemberSpec, float]:
    """Make a member from its spec and let it balance the pole of a toy; higher is better."""
    es = _workers[0]
    with torch.no_grad():
        for parameter in es.parameters:
            parameter.value.copy_(centre[parameter.name])
    if random.Random(f"{spec}").random() < HANGS:
        time.sleep(2 * PATIENCE)
    state, score = torch.tensor([0.0, 0.0, 0.05, 0.0]), 0.0
    with es.member(spec) as model:
        while abs(float(state[2])) < 0.5 and score < 100:
            force = float(model(state)[0].tanh())
            x, v, angle, spin = state.tolist()
            state = torch.tensor(
                [x + 0.05 * v, v + 0.05 * force, angle + 0.05 * spin, spin + 0.05 * (5 * angle - 3 * force)]
            )
            score += 1
    return spec, score - abs(float(state[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    es = make()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, mp_context=context, initializer=begin) as pool:
        for epoch in range(args.epochs):
            centre = es.base_params
            running = {pool.submit(evaluate, spec, centre) for spec in es.ask()}
            while running:
                done, running = wait(running, timeout=60 if epoch == 0 else PATIENCE, return_when="FIRST_COMPLETED")
                es.tell(dict(future.result() for future in done), partial=True)
                if not done:
                    break  # whoever is left hangs
            for late in running:
                late.cancel()
            mean = es.tell({})  # what came; the pairs of the others are dropped
            assert es.diagnostics is not None
            print(f"epoch {epoch:2d}  mean fitness {mean:7.2f}  members dropped {es.diagnostics.dropped}", flush=True)


if __name__ == "__main__":
    main()
