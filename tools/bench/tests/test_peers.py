import pytest
import torch
from bench.methods.method import Setting
from bench.methods.peers import PGPEDriver, eggroll_020
from bench.methods.published_020 import TORCHEGGROLL_020, torcheggroll_020
from bench.methods.table import METHODS, entries_of
from bench.protocol.plan import studies
from bench.protocol.profiles import PROFILES
from bench.workloads.base import PopulationTask
from bench.workloads.table import WORKLOADS
from torch import nn

RELEASE = '''
class TorchEggrollES:
    """As release 0.2.0: one call makes the population, another takes its fitness."""

    def __init__(self, model, pop_size, sigma, lr, rank):
        self.model, self.size, self.lr = model, pop_size, lr

    def prepare_population(self):
        self.noise = [1.0 if i % 2 else -1.0 for i in range(self.size)]

    def get_stacked_params(self):
        import torch

        signs = torch.tensor(self.noise)
        return {n: p + signs.view(-1, *[1] * p.dim()) for n, p in self.model.named_parameters()}

    def apply_fitness_scores(self, scores):
        up = sum(n * float(s) for n, s in zip(self.noise, scores)) / self.size
        for p in self.model.parameters():
            p.data.add_(self.lr * up)
'''


@pytest.fixture
def release(tmp_path, monkeypatch):
    (tmp_path / "torcheggroll").mkdir()
    (tmp_path / "torcheggroll" / "es.py").write_text(RELEASE)
    monkeypatch.setenv(TORCHEGGROLL_020, str(tmp_path))


def task_of(fitness):
    return PopulationTask(nn.Linear(1, 1), fitness, float, float, 1)


def total(members, generation):
    return sum(stack.flatten(1).sum(1) for stack in members.values())


def test_a_peer_takes_part_only_where_it_is(monkeypatch, release):
    assert "torcheggroll-0.2.0" in entries_of(WORKLOADS["cartpole"], "es", {"torcheggroll-0.2.0"}, False)
    monkeypatch.delenv(TORCHEGGROLL_020)
    assert "torcheggroll-0.2.0" not in entries_of(WORKLOADS["cartpole"], "es", {"torcheggroll-0.2.0"}, False)


def test_asking_for_a_peer_that_is_not_there_says_what_is_missing(monkeypatch):
    monkeypatch.delenv(TORCHEGGROLL_020, raising=False)
    with pytest.raises(ValueError, match=TORCHEGGROLL_020):
        studies(PROFILES["quick"], ("cartpole",), ("torcheggroll-0.2.0",), "cpu", 1)


def test_a_folder_without_the_release_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(TORCHEGGROLL_020, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="unpack its source distribution"):
        torcheggroll_020()


def test_the_earlier_release_climbs_through_the_same_driver(release):
    model = nn.Linear(3, 2)
    params = METHODS["torcheggroll-0.2.0"].box.recommended
    before = sum(p.sum().item() for p in model.parameters())
    eggroll_020(model, params, Setting(1, 0)).generation(task_of(total), 0)
    assert sum(p.sum().item() for p in model.parameters()) > before


def test_pgpe_hands_out_members_in_the_models_shapes_and_climbs():
    pytest.importorskip("evotorch", reason="bench[evotorch] is not installed")
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    driver = PGPEDriver(model, 0.1, 0.1)
    seen = {}

    def fitness(members, generation):
        seen.update({name: tuple(stack.shape) for name, stack in members.items()})
        return total(members, generation)

    before = sum(p.sum().item() for p in model.parameters())
    for generation in range(5):
        driver.generation(task_of(fitness), generation)
    assert seen == {"weight": (driver.population, 2, 3), "bias": (driver.population, 2)}
    assert sum(p.sum().item() for p in model.parameters()) > before + 0.1
    assert driver.state_bytes() > 0


def test_sep_cma_climbs_and_moves_the_models_centre():
    pytest.importorskip("cma", reason="bench[cma] is not installed")
    model = nn.Linear(3, 2)
    driver = METHODS["sep-cma"].make(model, {"lr": 0.1}, Setting(5, 0))
    before = sum(p.sum().item() for p in model.parameters())
    for generation in range(5):
        driver.generation(task_of(total), generation)
    assert sum(p.sum().item() for p in model.parameters()) > before + 0.1
