"""Every verdict of the published records, recomputed from their JSON without the bench: plain floats and loops."""

import gzip
import json
import math
import random
from pathlib import Path

import pytest
from bench.protocol.claims import CLAIMS
from bench.records.store import read_many
from bench.report.analysis import analyse
from bench.report.claims import judge_all

RECORDS = sorted((Path(__file__).parents[3] / "docs" / "records" / "bench").glob("*.jsonl.gz"))


def t_cdf(t, nu):
    """Student's distribution, its density integrated by Simpson's rule."""
    scale = math.exp(math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)) / math.sqrt(nu * math.pi)
    pieces, end = 4000, abs(t)
    heights = [scale * (1 + (end * i / pieces) ** 2 / nu) ** (-(nu + 1) / 2) for i in range(pieces + 1)]
    area = end / pieces / 3 * (heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2]))
    return 0.5 + math.copysign(area, t)


def t_quantile(p, nu):
    low, high = 0.0, 200.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, nu) < p else (low, middle)
    return low


QUANTILES = {}


def interval(values):
    n, mean = len(values), sum(values) / len(values)
    error = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
    if error < 1e-13:
        return mean, mean, 1.0 if abs(mean) < 1e-12 else 0.0
    quantile = QUANTILES.setdefault(n, t_quantile(0.975, n - 1))
    return mean - quantile * error, mean + quantile * error, 2 * (1 - t_cdf(abs(mean) / error, n - 1))


def resampled(values):
    draw = random.Random(5)
    means = sorted(sum(draw.choices(values, k=len(values))) / len(values) for _ in range(4000))
    return means[100], means[3899]


def finals(selection, runs):
    wanted = json.dumps(selection["chosen"], sort_keys=True)
    found = {}
    for run in runs:
        config = run["config"]
        same = all(config[key] == selection[key] for key in ("workload", "family", "arm", "budget"))
        same = same and json.dumps(config["params"], sort_keys=True) == wanted
        judged = run["test"] is not None or run["status"] == "diverged"
        if same and judged and config["seed"] in selection["final_seeds"]:
            found[config["seed"]] = run["test"]
    return found


def validation(selection):
    """The chosen setting's mean on the tuning seeds of the stage that decided, higher is better."""
    last = max(trial.get("stage") or 0 for trial in selection["trials"])
    for trial in selection["trials"]:
        if (trial.get("stage") or 0) == last and trial["params"] == selection["chosen"]:
            values = trial["values"]
            mean = -math.inf if None in values else sum(values) / len(values)
            return mean if selection["better"] == "higher" else -mean
    return -math.inf


def read(path):
    """The runs of a file, and the last selection of each entry."""
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    chosen = [line for line in lines if line["kind"] == "selection"]
    selections = {(line["workload"], line["family"], line["arm"]): line for line in chosen}
    return [line for line in lines if line["kind"] == "run"], selections


def holm(p):
    """{name: p} corrected for their number."""
    order, highest, adjusted = sorted(p, key=p.get), 0.0, {}
    for rank, name in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[name]))
        adjusted[name] = highest
    return adjusted


def recomputed(path, margins):
    """{(workload, family, entry): verdict} from the file's lines alone."""
    runs, selections = read(path)
    tests = {key: finals(selection, runs) for key, selection in selections.items()}
    rows = {}
    for key, selection in selections.items():
        workload, family, _ = key
        plain = "adamw" if family == "gradient" else "openai-es"
        forms = [k for k in selections if k[:2] == (workload, family) and k[2] == plain and tests[k]]
        reference = max(forms, key=lambda k: validation(selections[k]))
        against = (workload, family, selection["follows"]) if selection.get("follows") else reference
        if not tests[key] or against == key:
            continue
        sign = 1 if selection["better"] == "higher" else -1
        shared = [s for s in tests[key] if tests[key][s] is not None and tests[against].get(s) is not None]
        values = [sign * (tests[key][seed] - tests[against][seed]) for seed in shared]
        died, they = (sum(v is None for v in tests[k].values()) for k in (key, against))
        rows[key] = (values, *(interval(values) if len(values) > 1 else (0, 0, 1.0)), died > they)
    adjusted = holm({key: row[3] for key, row in rows.items()})
    verdicts = {}
    for key, (values, low, high, _, died_more) in rows.items():
        margin = selections[key].get("margin") or margins[key[:2]]
        boot = resampled(values) if len(values) > 1 else (0, 0)
        if died_more:
            verdicts[key] = "worse"
        elif len(values) < 5:
            verdicts[key] = "undecided"
        elif -margin < low and high < margin:
            verdicts[key] = "equivalent"
        elif adjusted[key] >= 0.05 or low <= 0 <= high or boot[0] <= 0 <= boot[1]:
            verdicts[key] = "undecided"
        else:
            verdicts[key] = "better" if sum(values) > 0 else "worse"
    return verdicts


@pytest.mark.skipif(not RECORDS, reason="needs the workspace's records")
@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name)
def test_every_published_verdict_is_that_of_an_independent_computation(path):
    results = analyse(read_many([path]))
    theirs = {
        (result.workload, result.family, entry.entry): entry.verdict
        for result in results
        for entry in result.entries
        if entry.comparison is not None or entry.verdict == "worse"
    }
    mine = recomputed(path, {(result.workload, result.family): result.margin for result in results})
    assert len(theirs) >= 3
    assert mine == theirs


def runs_at(selection, runs, factor, fresh):
    """{seed: run} at a multiple of the chosen rate; away from it, and on fresh seeds, all seeds or none."""
    lr = selection["chosen"]["lr"] if factor == 1 else float(f"{selection['chosen']['lr'] * factor:.3g}")
    wanted = {**selection["chosen"], "lr": lr}
    seeds = selection["fresh_seeds"] if fresh else selection["rate_seeds" if factor != 1 else "final_seeds"]
    found = {}
    for run in runs:
        config = run["config"]
        same = all(config[key] == selection[key] for key in ("workload", "family", "arm", "budget"))
        judged = run["test"] is not None or run["status"] == "diverged"
        if same and judged and config["params"] == wanted and config["seed"] in seeds:
            found[config["seed"]] = run
    return found if len(found) == len(seeds) or (factor == 1 and not fresh) else {}


def value_at(run, seconds):
    return [value for cpu, value in zip(run["curve"]["cpu"], run["curve"]["value"], strict=True) if cpu <= seconds][-1]


def compared(claim, one, other, sign):
    values = []
    for seed in sorted(set(one) & set(other)):
        a, b = one[seed], other[seed]
        if claim.kind == "better after equal CPU time":
            end = min(a["curve"]["cpu"][-1], b["curve"]["cpu"][-1])
            values.append(sign * (value_at(a, end) - value_at(b, end)))
        elif a["test"] is not None and b["test"] is not None:
            values.append(sign * (a["test"] - b["test"]))
    return values


def judged(claim, fresh, runs, selections):
    """The values by which a claim is judged, how many runs of either side diverged, and the ratio of CPU seconds."""
    mine, theirs = (selections.get((claim.workload, claim.family, e)) for e in (claim.entry, claim.against))
    if mine is None or theirs is None or (fresh and not mine.get("fresh_seeds")):
        return None
    sign = 1 if mine["better"] == "higher" else -1
    everywhere = claim.kind == "not worse at any rate"
    factors = [1, *(mine.get("rates") or [])] if everywhere else [claim.factor]
    sides = [runs_at(mine, runs, factor, fresh) for factor in factors]
    other = runs_at(theirs, runs, 1 if everywhere else claim.factor, fresh)
    if not all(sides) or not other:
        return None
    values = min((compared(claim, side, other, sign) for side in sides), key=lambda some: interval(some)[0])
    died = [sum(run["status"] == "diverged" for run in some.values()) for some in (*sides, other)]
    costs = sorted(sides[0][s]["cost"]["train_cpu"] / other[s]["cost"]["train_cpu"] for s in set(sides[0]) & set(other))
    margin = claim.margin if claim.margin is not None else mine["margin"]
    return values, sum(died[:-1]) > died[-1], costs[len(costs) // 2], margin


def outcomes(path):
    runs, selections = read(path)
    found = {}
    for claim in CLAIMS:
        for fresh in (False, True):
            one = None if claim.late and not fresh else judged(claim, fresh, runs, selections)
            if one is not None:
                found[claim, fresh] = one
    adjusted = holm({key: interval(one[0])[2] for key, one in found.items() if key[0].kind.startswith("better")})
    results = {}
    for key, (values, died_more, cost, margin) in found.items():
        low, high, _ = interval(values)
        boot = resampled(values)
        if died_more or (key[0].kind == "not worse and faster" and cost >= 1):
            results[key] = "refuted"
        elif not key[0].kind.startswith("better"):
            results[key] = "shown" if low > -margin else "refuted" if high < -margin else "not shown"
        elif adjusted[key] >= 0.05 or low <= 0 <= high or boot[0] <= 0 <= boot[1]:
            results[key] = "not shown"
        else:
            results[key] = "shown" if sum(values) > 0 else "refuted"
    return results


@pytest.mark.skipif(not RECORDS, reason="needs the workspace's records")
@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name)
def test_every_claim_is_judged_as_an_independent_computation_judges_it(path):
    theirs = {
        (outcome.claim, outcome.fresh): outcome.result
        for outcome in judge_all(analyse(read_many([path])))
        if outcome.result != "not measured"
    }
    assert len(theirs) >= 3
    assert outcomes(path) == theirs
