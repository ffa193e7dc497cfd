import re
from xml.etree import ElementTree

import torch
from torcheggroll import TorchEggrollES
from torcheggroll.diagnostics import History


def trained(generations):
    torch.manual_seed(0)
    es = TorchEggrollES(torch.nn.Linear(2, 1), pop_size=8, seed=0)
    for _ in range(generations):
        es.step(torch.ones(4, 2), torch.nn.functional.mse_loss, torch.zeros(4, 1))
    return es


def test_a_notebook_shows_the_numbers_and_the_fitness():
    es = trained(5)
    shown = es._repr_html_()
    assert "TorchEggrollES on Linear" in shown
    assert "<th>generation</th><td>5</td>" in shown
    mean, best = f"{es.diagnostics.fitness_mean:.4g}", f"{es.diagnostics.fitness_max:.4g}"
    assert f"<td>{mean}</td>" in shown
    assert f"<td>{best}</td>" in shown
    picture = ElementTree.fromstring(re.search(r"<svg.*</svg>", shown)[0])
    lines = [line.get("points").split() for line in picture.iter("polyline")]
    assert [len(points) for points in lines] == [5, 5]
    heights = [[float(point.split(",")[1]) for point in points] for points in lines]
    assert all(best <= mean for best, mean in zip(*heights, strict=True))  # the best member is drawn above the mean


def test_before_two_generations_there_is_no_picture():
    assert "<svg" not in trained(0)._repr_html_()
    assert "<svg" not in trained(1)._repr_html_()


def test_a_resumed_run_replaces_what_it_runs_again():
    es = trained(2)
    state = es.state_dict()
    for generations in (3, 2):
        for _ in range(generations):
            es.step(torch.ones(4, 2), torch.nn.functional.mse_loss, torch.zeros(4, 1))
        es.load_state_dict(state)
    assert list(es._history.epochs) == [0, 1, 2, 3]


def test_a_fitness_without_a_value_leaves_a_gap():
    history = History()
    for epoch, value in enumerate((1.0, float("nan"), float("-inf"), 2.0)):
        history.epochs.append(epoch)
        history.means.append(value)
        history.maxima.append(value)
    shown = history.as_html("<b>", {"x": 1.0})
    assert "nan" not in shown
    assert "inf" not in shown.replace("infinity", "")
    assert "&lt;b&gt;" in shown
