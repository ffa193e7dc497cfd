"""What a rank of test_ranks.py does, started as a process of its own: rank.py NAME FOLDER RANK WORLD [SECONDS]."""

import os
import signal
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torcheggroll import TorchEggrollES

SETTINGS = {"pop_size": 12, "sigma": 0.1, "lr": 0.3, "rank": 2, "optimizer": torch.optim.Adam}


class Traffic(TorchDispatchMode):
    """Counts the bytes of every tensor that a collective is handed: what a rank sends, and room for what comes."""

    def __init__(self):
        super().__init__()
        self.bytes, self.calls = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "c10d":
            self.calls.append(func.name())
            self.bytes += sum(t.numel() * t.element_size() for t in _tensors(args))
        return func(*args, **kwargs or {})


def _tensors(tree):
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [t for branch in tree for t in _tensors(branch)] if isinstance(tree, list | tuple) else []


def mlp(width=10):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 3))


class Experts(nn.Module):
    """Four experts in one weight each, behind a router."""

    def __init__(self):
        super().__init__()
        self.route, self.head = nn.Linear(6, 4), nn.Linear(10, 3)
        self.up = nn.Parameter(torch.randn(4, 6, 10) / 3)

    def forward(self, x):
        return self.head(torch.einsum("te,teh->th", self.route(x).softmax(-1), torch.einsum("ti,eih->teh", x, self.up)))


def experts():
    torch.manual_seed(0)
    return Experts()


def data(*lead):
    generator = torch.Generator().manual_seed(9)
    return torch.randn(*lead, 12, 6, generator=generator), torch.randint(0, 3, (*lead, 12), generator=generator)


def weights(es):
    return torch.cat([p.detach().flatten() for p in es.model.parameters()])


def by_loss(es):
    x, y = data()
    es.step(x, functional.cross_entropy, y)


def by_member(es):
    x, y = data(12)
    es.step(x, functional.cross_entropy, y, per_member=True)


def by_asking(es):
    x, y = data()
    scores = {}
    for spec in es.ask():
        with es.member(spec) as model:
            scores[spec] = -float(functional.cross_entropy(model(x), y))
    scores.pop(next((s for s in scores if s.member == 5), None), None)
    es.tell(scores)


def by_question(es):
    es.tell({s: [((3 * s.member + q) % 7) ** 0.5 for q in range(4)] for s in es.ask()})


RUNS = {
    "loss": (by_loss, {}),
    "chunks of one": (by_loss, {"chunk_size": 1}),
    "chunks of five": (by_loss, {"chunk_size": 5, "engine": "vmap"}),
    "per member": (by_member, {}),
    "ask and tell, one missing": (by_asking, {"engine": "loop"}),
    "questions": (by_question, {"fitness": "question"}),
    "seven alone": (by_loss, {"pop_size": 7, "antithetic": False}),
    "one pair": (by_loss, {"pop_size": 2}),
    "experts": (by_loss, {"model": experts}),
}


class Bigram(nn.Embedding):
    """The smallest language model."""

    def forward(self, tokens, cache=None):
        return super().forward(tokens), cache


def share_of_evens(prompt, text):
    return sum(token % 2 == 0 for token in text) / len(text)


def too_few(prompts, texts):
    return [1.0]


def fitness_of(model):
    x, y = data()
    return -float(functional.cross_entropy(model(x), y))


def writer(**more):
    torch.manual_seed(0)
    return TorchEggrollES(Bigram(10, 10), **SETTINGS | {"seed": 3, "fitness": "question"} | more)


def texts(folder, rank, world):
    """Write and be rewarded; then a reward that fails on one rank only."""
    es = writer()
    means = [es.step_reward([[1, 2], [3]], share_of_evens, max_new_tokens=6, pad_token_id=0) for _ in range(3)]
    found = {"weights": weights(es), "means": means, "members": list(es.own_members)}
    found["written"] = es.generate([[1, 2], [3]], 6, pad_token_id=0).tokens
    try:
        es.step_reward([[1], [2]], lambda ps, ts: [0.5] * (2 - rank), batched=True, max_new_tokens=2)
    except (RuntimeError, ValueError) as error:
        found["error"] = f"{type(error).__name__}: {error}"
    found["unchanged"] = torch.equal(found["weights"], weights(es)) and es.epoch == 3
    return found


def run(call, settings, steps=3, **more):
    given = {"model": mlp} | SETTINGS | {"seed": 3} | settings | more
    es = TorchEggrollES(given.pop("model")(), **given)
    for _ in range(steps):
        call(es)
    return es


def every_run(folder, rank, world):
    """All runs; a checkpoint of theirs; the traffic of one step for two sizes of model and population."""
    found = {name: weights(run(call, settings)) for name, (call, settings) in RUNS.items()}
    es = run(by_loss, {})
    if rank == 0:
        torch.save(es.state_dict(), Path(folder) / f"of_{world}.pt")
    for width, population in ((10, 12), (500, 12), (10, 120)):
        es = TorchEggrollES(mlp(width), **SETTINGS | {"seed": 3, "pop_size": population})
        with Traffic() as traffic:
            by_loss(es)
        found[f"bytes {width} {population}"] = torch.tensor(traffic.bytes)
    return found


def going_on(folder, rank, world):
    """Load the checkpoint of two ranks and take three more steps."""
    es = TorchEggrollES(mlp(), **SETTINGS)
    es.load_state_dict(torch.load(Path(folder) / "of_2.pt", weights_only=True))
    for _ in range(3):
        by_loss(es)
    return {"loss": weights(es)}


def beginnings(folder, rank, world):
    """Begin differently on purpose; without a seed on ranks that are seeded differently."""
    torch.manual_seed(100 + rank)
    net, found = nn.Linear(3, 2), {}
    for name, make in {
        "weights": lambda: TorchEggrollES(net, seed=0),
        "seed": lambda: TorchEggrollES(mlp(), seed=rank),
        "settings": lambda: TorchEggrollES(mlp(), seed=0, sigma=0.1 + rank),
        "some seeds": lambda: TorchEggrollES(mlp(), seed=0 if rank else None),
    }.items():
        try:
            make()
        except RuntimeError as error:
            found[name] = str(error)
    same = mlp()
    torch.manual_seed(200 + rank)
    found["agreed"] = TorchEggrollES(same).seed
    separate = TorchEggrollES(net, seed=rank, process_group=False)
    by = separate.step(lambda m: float(m(torch.ones(3)).sum()))
    found["separate"] = by
    groups = [dist.new_group([0]), dist.new_group([1])]
    found["group of one"] = TorchEggrollES(mlp(), seed=rank, process_group=groups[rank]).ranks.alone
    try:
        TorchEggrollES(mlp(), process_group=groups[1 - rank])
    except ValueError as error:
        found["outside"] = str(error)
    return found


def lost(folder, rank, world):
    """Rank 1 goes away in the second step: ``killed``, or it ``sleeps`` beyond the timeout."""
    es = run(by_loss, {}, steps=1)
    before, begin = weights(es), time.monotonic()
    if rank == 1:
        if os.environ["WAY"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(20)
        os._exit(0)
    try:
        by_loss(es)
    except RuntimeError as error:
        return {"error": str(error), "seconds": time.monotonic() - begin, "epoch": es.epoch,
                "unchanged": torch.equal(before, weights(es))}  # fmt: skip
    return {}


def main():
    job, folder, rank, world, *seconds = sys.argv[1:]
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    store = f"file://{folder}/store_{job}_{world}"
    timeout = timedelta(seconds=float(seconds[0]) if seconds else 60)
    if world != "1":
        dist.init_process_group("gloo", init_method=store, rank=int(rank), world_size=int(world), timeout=timeout)
    torch.save(globals()[job](folder, int(rank), int(world)), Path(folder) / f"{job}_{world}_{rank}.pt")
    sys.stdout.flush()
    os._exit(0)  # a group whose rank is gone would wait for it


if __name__ == "__main__":
    main()
