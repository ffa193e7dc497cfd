import json

import pytest
from torch import nn
from torcheggroll import TorchEggrollES
from torcheggroll.callbacks import JSONLines, TensorBoard


class Writer:
    def __init__(self):
        self.rows = []

    def add_scalar(self, *row):
        self.rows.append(row)


@pytest.mark.filterwarnings("ignore:at least one pair must have")
def test_every_step_is_a_line_and_a_set_of_scalars(tmp_path):
    es, writer = TorchEggrollES(nn.Linear(3, 2), pop_size=4, seed=0), Writer()
    es.callbacks += [JSONLines(tmp_path / "run.jsonl"), TensorBoard(writer)]
    es.step(lambda m: float(m.weight.detach().sum()))
    es.step(lambda m: float("nan"))
    first, second = map(json.loads, (tmp_path / "run.jsonl").read_text().splitlines())
    assert (first["epoch"], first["counted"], second["counted"], second["dropped"]) == (0, 4, 0, 4)
    assert second["fitness_mean"] is None
    assert ("es/counted", 4, 0) in writer.rows
