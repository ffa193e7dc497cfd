"""Regret of every controller on a simulated run whose best candidate changes: ``python regret.py [records.jsonl]``.

A run is 2,000 episodes of 20 steps. Its loss is exp(x + 0.1 z), z standard normal at each step, and an episode with
the pair (i, j) of 3 learning-rate factors and 2 noise levels moves x, evenly over its steps, by

    0.1 (0 - x) - g(i, j)    with g(i, j) = u_i + v_j + w_ij

so that the first part, the same for all pairs, keeps the loss in range. g is drawn anew every 250 episodes, uniformly:
in the additive world u from [-0.6, 0.6], v from [-0.2, 0.2], w from [-0.15, 0.15]; in the interacting world u = v = 0,
w from [-0.7, 0.7]. A controller sees losses only. Its regret is the sum over episodes of max g - g(i, j): the
improvement, in units of the loss's logarithm, that the best pair would have brought besides. Every controller plays
the same 50 runs of each world; half-widths are 1.96 standard errors over them.
"""

import json
import math
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from pulseopt import AEES

EPISODES, STEPS, SEGMENT, SEEDS = 2000, 20, 250, 50
CONTROLLERS: dict[str, dict[str, Any]] = {
    "uniform random": {"control_mode": "random"},
    "independent (0.1.0's default)": {},
    "conditional (0.1.0)": {"structured_control_mode": "conditional"},
    "trend (0.1.0)": {"context_mode": "trend"},
    "trend_phase (0.1.0)": {"context_mode": "trend_phase", "total_training_steps": EPISODES * STEPS},
    "joint": {"structured_control_mode": "joint"},
    "trend, relative epsilon": {"context_mode": "trend", "context_trend_epsilon_mode": "relative"},
    "reward baseline ema": {"reward_baseline": "ema"},
    "relative reward": {"reward": "relative"},
    "exploration 0.3": {"exploration_coef": 0.3},
    "exploration 0.1": {"exploration_coef": 0.1},
    "exploration 0.1, baseline ema": {"exploration_coef": 0.1, "reward_baseline": "ema"},
    "exploration 0.1, joint, baseline ema": {
        "exploration_coef": 0.1, "structured_control_mode": "joint", "reward_baseline": "ema",
    },
    "exploration 0.03, baseline ema": {"exploration_coef": 0.03, "reward_baseline": "ema"},
    "exploration 0.03, joint, baseline ema": {
        "exploration_coef": 0.03, "structured_control_mode": "joint", "reward_baseline": "ema",
    },
}  # fmt: skip

Gains = list[list[float]]


WORLDS = {"additive": (0.6, 0.2, 0.15), "interacting": (0.0, 0.0, 0.7)}  # the largest |u|, |v| and |w|


def gains(world: str, draw: random.Random) -> Gains:
    """Return g for every pair."""
    a, b, c = WORLDS[world]
    u = [draw.uniform(-a, a) for _ in range(3)]
    v = [draw.uniform(-b, b) for _ in range(2)]
    return [[u[i] + v[j] + draw.uniform(-c, c) for j in range(2)] for i in range(3)]


def regret(world: str, settings: dict[str, Any], seed: int, episodes: int = EPISODES) -> float:
    """Return a controller's regret over one run."""
    weight = torch.nn.Parameter(torch.zeros(1))
    aees = AEES(
        torch.optim.SGD([weight], lr=0.1), lr_candidates=(0.5, 1.0, 2.0), noise_candidates=(0.0, 0.01),
        episode_length=STEPS, seed=seed, **settings,
    )  # fmt: skip
    manager = aees.episode_manager
    changes, noise = random.Random(f"gains {seed}"), random.Random(f"losses {seed}")
    x, lost, g = 0.0, 0.0, gains(world, changes)
    for episode in range(episodes):
        if episode % SEGMENT == 0:
            g = gains(world, changes)
        candidate = manager.on_step_start(episode * STEPS)
        gain = g[(0.5, 1.0, 2.0).index(candidate.lr_multiplier)][(0.0, 0.01).index(candidate.noise_std)]
        move = (-0.1 * x - gain) / STEPS
        for _ in range(STEPS):
            x += move
            manager.on_step_end(math.exp(x + 0.1 * noise.gauss(0.0, 1.0)))
        lost += max(map(max, g)) - gain
    return lost


def table(rows: list[dict[str, Any]]) -> str:
    """Return the records as a Markdown table: regrets, and in brackets the share of uniform random's."""
    cells = {(row["controller"], row["world"]): row for row in rows}
    names, worlds = dict.fromkeys(row["controller"] for row in rows), dict.fromkeys(row["world"] for row in rows)
    lines = ["| controller | " + " | ".join(worlds) + " |", "| --- |" + " ---: |" * len(worlds)]
    for name in names:
        found = [cells[name, world] for world in worlds]
        texts = [f"{row['mean']:.0f} ± {row['half_width']:.0f} ({row['of_random']:.0%})" for row in found]
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def measure(world: str, seeds: int, episodes: int) -> list[dict[str, Any]]:
    """Return one record for each controller in one world."""
    rows: list[dict[str, Any]] = []
    for name, settings in CONTROLLERS.items():
        found = [regret(world, settings, seed, episodes) for seed in range(seeds)]
        mean, width = statistics.mean(found), 1.96 * statistics.stdev(found) / math.sqrt(seeds)
        rows.append({
            "kind": "regret", "world": world, "controller": name, "settings": settings, "episodes": episodes,
            "seeds": seeds, "mean": mean, "half_width": width, "values": found,
        })  # fmt: skip
        print(f"{world}, {name}: {mean:.1f} ± {width:.1f}", file=sys.stderr)
    for row in rows:
        row["of_random"], row["of_default"] = row["mean"] / rows[0]["mean"], row["mean"] / rows[1]["mean"]
    return rows


def main(records: Path | None = None, seeds: int = SEEDS, episodes: int = EPISODES) -> list[dict[str, Any]]:
    """Run everything, print the table, write the records."""
    rows = [row for world in WORLDS for row in measure(world, seeds, episodes)]
    if records is not None:
        records.parent.mkdir(parents=True, exist_ok=True)
        records.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(table(rows))
    return rows


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
