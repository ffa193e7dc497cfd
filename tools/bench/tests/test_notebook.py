"""A notebook is executed: the optimizers and the bench show progress and a picture in it."""

import re
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

TASK = (Path(__file__).parents[1] / "examples" / "minimal_task.py").read_text(encoding="utf-8")
CELLS = {
    "es": """
import torch
from IPython.display import display
from torcheggroll import TorchEggrollES

es = TorchEggrollES(torch.nn.Linear(2, 1), pop_size=8, seed=0)
shown = display(es, display_id=True)
for generation in range(4):
    es.step(torch.ones(4, 2), torch.nn.functional.mse_loss, torch.zeros(4, 1))
    shown.update(es)
""",
    "aees": """
from pulseopt import AEES

weight = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
aees = AEES(torch.optim.SGD([weight], lr=0.01), lr_candidates=[0.5, 2.0], episode_length=3, seed=0)
for step in range(12):
    aees.step_start(step)
    weight.grad = None
    loss = weight.square().sum()
    loss.backward()
    aees.step_end(loss)
aees
""",
    "adaptive": """
from adaptive_optimizer import AdaptiveOptimizer

opt = AdaptiveOptimizer(torch.optim.SGD([weight], lr=0.01))
for step in range(12):
    opt.zero_grad()
    loss = weight.square().sum()
    loss.backward()
    opt.step_loss(loss)
    opt.step()
opt
""",
    "bench": """
from bench.notebook import compare

compare("my_task.py", steps=8, methods=["sgd"], seeds=2, trials=1, workers=1)
""",
    "slip": """
try:
    compare("my_tusk.py")
except OSError as error:
    print(type(error).__name__)
""",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The HTML and text of each cell of an executed notebook."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "my_task.py").write_text(TASK)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.write(notebook, folder / "executed.ipynb")
    return {
        name: "".join(
            output.get("data", {}).get("text/html", "") + output.get("text", "") for output in cell["outputs"]
        )
        for name, cell in zip(CELLS, notebook.cells, strict=True)
    } | {"folder": folder}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_evolution_strategy_shows_its_last_generation(outputs):
    assert "<th>generation</th><td>4</td>" in outputs["es"]  # the output was replaced as it went on
    assert outputs["es"].count("<svg") == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "row"), [("aees", "episodes closed"), ("adaptive", "lr")])
def test_a_controller_shows_its_state_and_its_picture(name, row, outputs):
    assert f"<th>{row}</th>" in outputs[name]
    assert "data:image/png;base64," in outputs[name]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_comparison_shows_progress_answer_and_pictures(outputs):
    shown = outputs["bench"]
    progress, answer = shown.split("<p><strong>Should you switch from AdamW?", 1)
    assert re.search(r"\d+ of about \d+ runs", progress)
    assert len(re.findall("runs, ", progress)) == 1  # one output, replaced
    assert "AdamW" in progress
    assert answer.count("<svg") == 2
    assert (Path(outputs["folder"]) / "outputs" / "bench" / "compare-my_task" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_slip_in_a_notebook_is_an_error_of_its_kind(outputs):
    assert outputs["slip"] == "FileNotFoundError\n"
