"""The test kit's checks that need no gradient."""

import pytest
import torch
from torch import nn
from torcheggroll import TorchEggrollES

testkit = pytest.importorskip("testkit", reason="needs the workspace's test kit")


class Trial:
    """A small classifier under evolution."""

    def __init__(self, **settings):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        self.es = TorchEggrollES(model, **{"pop_size": 8, "sigma": 0.1, "seed": 7, **settings})
        self.parameters = list(model.parameters())

    def step(self, t):
        x = torch.sin(torch.arange(30.0).view(6, 5) * (t + 1))
        return self.es.step(x, nn.functional.cross_entropy, torch.arange(6) % 3)

    def state_dict(self):
        return self.es.state_dict()

    def load_state_dict(self, state):
        self.es.load_state_dict(state)


CASES = [
    testkit.TrialCase("vmap", Trial, engine="vmap"),
    testkit.TrialCase("loop, Adam, rademacher", Trial, engine="loop", optimizer=torch.optim.Adam, noise="rademacher"),
    testkit.TrialCase("fold, ranks, noise reused", Trial, engine="fold", fitness="rank", noise_reuse=2),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("check", testkit.TRIAL_CHECKS, ids=lambda check: check.__name__)
def test_passes_the_check(check, case):
    check(case)
