from dataclasses import replace

import pytest
import torch
from bench.methods.method import Setting
from bench.methods.peers import PGPEDriver
from bench.methods.table import METHODS, entries_of
from bench.protocol.plan import studies
from bench.protocol.profiles import PROFILES
from bench.workloads.base import PopulationTask
from bench.workloads.table import WORKLOADS
from torch import nn


def task_of(fitness):
    return PopulationTask(nn.Linear(1, 1), fitness, float, float, 1)


def total(members, generation):
    return sum(stack.flatten(1).sum(1) for stack in members.values())


def test_a_peer_takes_part_only_where_it_is(monkeypatch):
    for name in ("pgpe", "sep-cma"):
        monkeypatch.setitem(METHODS, name, replace(METHODS[name], needs="json"))
        assert name in entries_of(WORKLOADS["cartpole"], "es", {name}, False)
        monkeypatch.setitem(METHODS, name, replace(METHODS[name], needs="not_installed_anywhere"))
        assert name not in entries_of(WORKLOADS["cartpole"], "es", {name}, False)


def test_asking_for_a_peer_that_is_not_there_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(METHODS, "pgpe", replace(METHODS["pgpe"], needs="not_installed_anywhere"))
    with pytest.raises(ValueError, match="pgpe needs not_installed_anywhere"):
        studies(PROFILES["quick"], ("cartpole",), ("pgpe",), "cpu", 1)


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
