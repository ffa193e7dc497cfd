"""Every verdict of the published records, recomputed from their JSON without the bench: plain floats and loops."""

import gzip
import json
import math
import random
from pathlib import Path

import pytest
from bench.records.store import read_many
from bench.report.analysis import analyse

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


def recomputed(path, margins):
    """{(workload, family, entry): verdict} from the file's lines alone."""
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    runs = [line for line in lines if line["kind"] == "run"]
    selections = {}
    for line in lines:
        if line["kind"] == "selection":
            selections[line["workload"], line["family"], line["arm"]] = line
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
    order, highest, adjusted = sorted(rows, key=lambda key: rows[key][3]), 0.0, {}
    for rank, key in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * rows[key][3]))
        adjusted[key] = highest
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
