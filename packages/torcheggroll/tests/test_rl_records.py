"""The tables of the docs are the records', and what the records promise holds in them."""

import json
import math
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RECORDS = ROOT / "docs" / "records"
PAGE = ROOT / "docs" / "packages" / "torcheggroll.md"
BARS = {"CartPole-v1": 475, "Acrobot-v1": -100}
STUDENT = {7: 2.365, 8: 2.306, 9: 2.262}  # 97.5 % of Student's t, by degrees of freedom
pytestmark = pytest.mark.skipif(not (RECORDS / "torcheggroll_rl.jsonl").exists(), reason="needs the workspace")


def lines(name):
    return [json.loads(line) for line in (RECORDS / name).read_text(encoding="utf-8").splitlines()]


def shown(mark):
    text = PAGE.read_text(encoding="utf-8").split(f"<!-- {mark} -->")[1].split(f"<!-- /{mark} -->")[0]
    return text.strip().splitlines()


def groups(rows, key):
    return {name: [row for row in rows if key(row) == name] for name in dict.fromkeys(map(key, rows))}


def solved(game, rows):
    return sum(row["return"] >= BARS[game] for row in rows)


def games_table():
    out = ["| game | weights | solved | return, least and median | CPU seconds, median and most | steps, median |"]
    out.append("|---|---|---|---|---|---|")
    for (game, bits), rows in groups(lines("torcheggroll_rl.jsonl"), lambda row: (row["game"], row["bits"])).items():
        returns, cpu = ([row[name] for row in rows] for name in ("return", "cpu_seconds"))
        out.append(
            f"| {game} | {f'int{bits}' if bits else 'float32'} | {solved(game, rows)} of {len(rows)} seeds "
            f"| {min(returns):.1f}, {statistics.median(returns):.1f} "
            f"| {statistics.median(cpu):.0f}, {max(cpu):.0f} "
            f"| {statistics.median(row['env_steps'] for row in rows):,.0f} |"
        )
    return out


def gains():
    """What each arm's loss has above that of persistent evolution, seed by seed: mean and half of the 95 % interval."""
    arms = groups(lines("torcheggroll_persistent.jsonl"), lambda row: (row["arm"], row["lr"]))
    best = {row["seed"]: row["loss"] for row in next(iter(arms.values()))}
    out = {}
    for arm, rows in arms.items():
        above = [row["loss"] - best[row["seed"]] for row in rows]
        half = STUDENT[len(above) - 1] * statistics.stdev(above) / math.sqrt(len(above))
        out[arm] = statistics.fmean(above), half
    return arms, out


def persistent_table():
    arms, gain = gains()
    out = ["| arm | rate | loss, mean | answers right | above persistent, with 95 % interval | time steps |"]
    out.append("|---|---|---|---|---|---|")
    for (arm, lr), rows in arms.items():
        mean, half = gain[arm, lr]
        out.append(
            f"| {arm} | {lr} | {statistics.fmean(row['loss'] for row in rows):.3f} "
            f"| {100 * statistics.fmean(row['accuracy'] for row in rows):.0f} % "
            f"| {f'{mean:.3f} ± {half:.3f}' if arm != 'persistent' else ''} | {rows[0]['time_steps']:,} |"
        )
    return out


def test_the_page_shows_the_games():
    assert shown("games") == games_table()


def test_the_games_are_solved_on_nine_of_ten_seeds():
    for (game, _), rows in groups(lines("torcheggroll_rl.jsonl"), lambda row: (row["game"], row["bits"])).items():
        assert [row["seed"] for row in rows] == list(range(10))
        assert solved(game, rows) >= 9
        assert max(row["cpu_seconds"] for row in rows) < 180


def test_the_page_shows_the_arms():
    assert shown("persistent") == persistent_table()


def test_persistent_evolution_beats_truncated_at_equal_cost():
    arms, gain = gains()
    assert len({row["time_steps"] for rows in arms.values() for row in rows}) == 1
    assert next(iter(gain))[0] == "persistent"
    for mean, half in list(gain.values())[1:]:
        assert mean - half > 0
