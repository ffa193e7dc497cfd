"""No module of the suite is evaluated wrongly, and each is left as it was found."""

import pytest
import torch
from suite.judge import judge
from suite.layers import LAYERS
from suite.libraries import LIBRARIES
from suite.numbers import NUMBERS, RANDOM
from suite.sequences import SEQUENCES
from suite.writes import KEYWORDS, STATE, WRITES

CASES = [*LAYERS, *SEQUENCES, *WRITES, *KEYWORDS, *STATE, *NUMBERS, *RANDOM, *LIBRARIES]
SIGMAS = [
    pytest.param(0.001, id="0.001"),
    pytest.param(0.02, id="0.02", marks=pytest.mark.slow),
    pytest.param(0.0002, id="0.0002", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_is_right_and_leaves_the_model_as_it_was(case, sigma):
    if case.needs:
        pytest.importorskip(case.needs, reason=f"needs {case.needs}")
    verdict = judge(case, sigma)
    assert verdict.error <= verdict.allowed
    assert verdict.changed == []
    assert verdict.effect > 4 * case.loose  # the case can tell a wrong engine from a right one
    engine = "loop" if sigma >= case.apart else case.engine
    assert verdict.engine == engine
    assert len(verdict.reasons) == (engine != "fold")


def test_the_suite_is_large_and_little_of_it_runs_in_the_loop():
    assert len(CASES) >= 80
    assert len({case.name for case in CASES}) == len(CASES)
    assert sum("loop" in (case.engine, "loop" if case.apart < 1 else "") for case in CASES) <= 12


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
