"""Plots saved logs: ``python -m pulseopt.plot logs.jsonl out.png`` (extra ``plot``).

Three panels show the rewards of the episodes, the candidates over the steps, and how often each was chosen. For a
search for the learning rate, two panels show the mean alignment of its episodes and the factor.
"""

# matplotlib's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from pulseopt._maths.rate_search import TARGET

__all__ = ["draw", "read_logs"]


def read_logs(path: str | Path) -> list[dict[str, Any]]:
    """Returns the episodes that `AEES.save_logs` wrote.

    Args:
        path: a file of JSON lines.

    Returns:
        One dictionary for each episode.

    Raises:
        ValueError: the file holds no episode, or a line that is not an episode.
    """
    episodes: list[dict[str, Any]] = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        episode = json.loads(line)
        if "episode_rewards" not in episode:
            raise ValueError(f"line {number} of {path} must be an episode from AEES.save_logs(), got {line[:60]!r}")
        episodes.append(episode)
    if not episodes:
        raise ValueError(f"{path} must hold at least one episode; call finalize() before save_logs()")
    return episodes


def draw(episodes: list[dict[str, Any]]) -> Any:
    """Returns a matplotlib figure of the panels.

    Args:
        episodes: the result of `read_logs`.
    """
    from matplotlib.figure import Figure  # an extra, needed here only

    if "search_phases" in episodes[0]:
        return _draw_search(episodes, Figure(figsize=(9, 6), layout="constrained"))
    names = [str(episode.get("selected_combined_names", episode.get("selected_mode_names"))) for episode in episodes]
    ends = [int(episode["episode_end_steps"]) for episode in episodes]
    arms = sorted(set(names))
    figure = Figure(figsize=(9, 8), layout="constrained")
    rewards, choices, counts = figure.subplots(3, 1)
    rewards.axhline(0.0, color="0.8", linewidth=1)
    rewards.plot(ends, [float(episode["episode_rewards"]) for episode in episodes], marker=".", linewidth=1)
    rewards.set(xlabel="step", ylabel="reward of the episode")
    choices.scatter(ends, [arms.index(name) for name in names], s=12)
    choices.set(xlabel="step", ylabel="candidate", yticks=range(len(arms)), yticklabels=arms)
    tally = Counter(names)
    counts.barh(arms, [tally[arm] for arm in arms])
    counts.set(xlabel="episodes", ylabel="candidate")
    return figure


def _draw_search(episodes: list[dict[str, Any]], figure: Any) -> Any:
    known = [episode for episode in episodes if episode["mean_alignments"] is not None]
    aligned, factors = figure.subplots(2, 1, sharex=True)
    aligned.axhline(TARGET, color="0.8", linewidth=1)
    ends = [episode["episode_end_steps"] for episode in known]
    aligned.plot(ends, [episode["mean_alignments"] for episode in known], marker=".", linewidth=1)
    aligned.set(ylabel="mean alignment")
    starts = [episode["episode_start_steps"] for episode in episodes]
    factors.step(starts, [episode["selected_lr_values"] for episode in episodes], where="post")
    factors.set(xlabel="step", ylabel="factor on the rate", yscale="log")
    return figure


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line, draws, saves."""
    parser = argparse.ArgumentParser(prog="python -m pulseopt.plot", description="Draw the logs of an AEES run.")
    parser.add_argument("logs", type=Path, help="JSON lines, written by AEES.save_logs()")
    parser.add_argument("picture", type=Path, help="file to write; its ending says the format")
    options = parser.parse_args(arguments)
    draw(read_logs(options.logs)).savefig(options.picture, dpi=120)


if __name__ == "__main__":
    main()
