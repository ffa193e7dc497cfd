"""The test kit's checks: AdaptiveModeAdamW and AdaptiveModeSGD as optimizers, AEES around one as a trial."""

import pytest
import torch
from pulseopt import AEES, AdaptiveModeAdamW, AdaptiveModeSGD, CandidateConfig

testkit = pytest.importorskip("testkit", reason="needs the workspace's test kit")

NOISY = CandidateConfig("noisy", 2.0, 0.05)
ADAMW = testkit.Contract(
    intervals={
        "lr": "(0, inf)", "weight_decay": "[0, inf)", "eps": "(0, inf)", "betas[0]": "[0, 1)", "betas[1]": "[0, 1)",
    },
    complex="supported",
    shows=("mode",),
    reference={},
    fast=(),
)  # fmt: skip
SGD = testkit.Contract(
    intervals={"lr": "(0, inf)", "momentum": "[0, inf)", "weight_decay": "[0, inf)", "dampening": "[0, inf)"},
    complex="supported",
    sparse="supported",
    shows=("mode",),
    reference={},
    fast=(),
)
CASES = [
    testkit.Case("AdamW", AdaptiveModeAdamW, contract=ADAMW, lr=0.01),
    testkit.Case("AdamW, amsgrad, norm off", AdaptiveModeAdamW, contract=ADAMW, lr=0.01, amsgrad=True,
                 track_update_norm=False),
    testkit.Case("AdamW, noisy", AdaptiveModeAdamW, contract=ADAMW, lr=0.01, mode=NOISY, noise_seed=0),
    testkit.Case("SGD", AdaptiveModeSGD, contract=SGD, lr=0.01),
    testkit.Case("SGD, noisy", AdaptiveModeSGD, contract=SGD, lr=0.01, momentum=0.5, mode=NOISY, noise_seed=0),
]  # fmt: skip


class Wrapped:
    """A quadratic trained with AdamW under AEES."""

    def __init__(self, attached=False, **settings):
        self.problem = testkit.problems.quadratic()
        self.attached = attached
        self.optimizer = torch.optim.AdamW(self.problem.parameters, lr=0.01)
        arms = {"lr_candidates": (0.5, 1.0, 2.0), "noise_candidates": (0.0, 0.05), "episode_length": 3, "seed": 0}
        self.aees = AEES(self.optimizer, **{**arms, **settings})
        if attached:
            self.aees.attach()

    @property
    def parameters(self):
        return self.problem.parameters

    def step(self, t):
        if self.attached:
            self.aees.observe(self.problem.backward(t))
            self.optimizer.step()
        else:
            self.aees.step_start(t)
            self.aees.step_end(self.problem.backward(t))

    def state_dict(self):
        return {"optimizer": self.optimizer.state_dict(), "aees": self.aees.state_dict()}

    def load_state_dict(self, state_dict):
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.aees.load_state_dict(state_dict["aees"])


TRIALS = [
    testkit.TrialCase("AEES", Wrapped),
    testkit.TrialCase("AEES, attached", Wrapped, attached=True),
    testkit.TrialCase("AEES, conditional, trend", Wrapped, structured_control_mode="conditional", context_mode="trend"),
    testkit.TrialCase("AEES, joint, carried average", Wrapped, structured_control_mode="joint", reward_baseline="ema"),
    testkit.TrialCase("AEES, random", Wrapped, control_mode="random", track_update_norm=True),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("check", testkit.CHECKS, ids=lambda check: check.__name__)
def test_optimizers_pass_the_checks(check, case):
    if check.__name__ == "complex_equals_its_real_view" and "noisy" in case.label:
        pytest.skip("complex noise has variance σ² as a whole, half of it in each part: release 0.1.0's draws")
    check(case)


@pytest.mark.parametrize("case", TRIALS, ids=str)
@pytest.mark.parametrize("check", testkit.TRIAL_CHECKS, ids=lambda check: check.__name__)
def test_wrapped_optimizers_pass_the_checks(check, case):
    check(case)
