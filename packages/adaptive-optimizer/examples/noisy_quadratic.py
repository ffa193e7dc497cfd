"""The noisy quadratic: SGD with a constant rate against the same SGD with ``lr_rule="trend"``.

    python noisy_quadratic.py [records.jsonl]

f(w) = ½ Σ λᵢ wᵢ², ten λ up to 1, gradients λ w + ε with ε of deviation 0.1; the loss that the controller sees is noisy
too, f + ε·w/4, as a minibatch reports it. Above a rate of 2/L = 2 plain SGD diverges. What counts is the mean of f over
the last fifth of 1,000 steps, as median over 20 seeds.
"""

import json
import math
import statistics
import sys
from pathlib import Path

import torch
from adaptive_optimizer import AdaptiveOptimizer
from torch.optim import SGD

RATES = [0.01, 0.1, 1.0, 1.9, 2.1]  # over two decades, the last just above 2/L
SMALLEST = {"condition 10": 0.1, "condition 100": 0.01}  # the smallest λ
SEEDS = 20
STEPS = 1000

Record = dict[str, float | int | str]


def final_loss(problem: str, lr: float, seed: int, *, adapted: bool) -> float:
    """The mean of f over the last fifth of a run; infinite where it diverged."""
    draw = torch.Generator().manual_seed(seed)
    curvature = torch.logspace(math.log10(SMALLEST[problem]), 0, 10, dtype=torch.float64)
    weight = torch.nn.Parameter(torch.randn(10, generator=draw, dtype=torch.float64))
    noise = 0.1 * torch.randn(STEPS, 10, generator=draw, dtype=torch.float64)
    base = SGD([weight], lr=lr)
    opt = AdaptiveOptimizer(base, lr_rule="trend", log_limit=0) if adapted else base
    tail: list[float] = []
    for step in range(STEPS):
        w = weight.detach()
        weight.grad = curvature * w + noise[step]
        loss = (0.5 * curvature * w**2).sum().item()
        if not loss < 1e12:
            return math.inf
        if isinstance(opt, AdaptiveOptimizer):
            opt.step_loss(loss + (noise[step] @ w).item() / 4)
        opt.step()
        if step >= STEPS * 4 // 5:
            tail.append(loss)
    return statistics.mean(tail)


def run_all() -> list[Record]:
    """One record a run: problem, method, starting rate, seed, loss ("inf" where it diverged)."""
    records: list[Record] = []
    for problem in SMALLEST:
        for lr in RATES:
            for method in ("constant", "trend"):
                for seed in range(SEEDS):
                    loss = final_loss(problem, lr, seed, adapted=method == "trend")
                    shown = loss if loss < math.inf else "inf"
                    records.append({"problem": problem, "method": method, "lr": lr, "seed": seed, "loss": shown})
    return records


def table(records: list[Record], problem: str) -> str:
    """Medians over seeds as a Markdown table; neighbours are the rates beside the starting one, and itself."""
    median: dict[tuple[str, float], float] = {}
    for method in ("constant", "trend"):
        for lr in RATES:
            losses = [r["loss"] for r in records if (r["problem"], r["method"], r["lr"]) == (problem, method, lr)]
            median[method, lr] = statistics.median(float(loss) for loss in losses)
    lines = ["| starting lr | constant | trend | best constant among neighbours | ratio |", "|---|---|---|---|---|"]
    for i, lr in enumerate(RATES):
        near = min(median["constant", each] for each in RATES[max(0, i - 1) : i + 2])
        constant, trend = (f"{median[method, lr]:.3g}" for method in ("constant", "trend"))
        lines.append(f"| {lr} | {constant} | {trend} | {near:.3g} | {median['trend', lr] / near:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Run all, print the tables, and write one JSON line a run where a path is given."""
    torch.set_num_threads(1)
    records = run_all()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    for problem in SMALLEST:
        print(f"{problem}:\n\n{table(records, problem)}\n")


if __name__ == "__main__":
    main()
