"""The examples of reinforcement learning and of recurrent models run, and end with a number."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are not beside these tests"),
]


def printed(name, *arguments):
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout.splitlines()


@pytest.mark.parametrize("name", ["cartpole", "acrobot"])
def test_a_game_of_one_generation(name):
    pytest.importorskip("gymnasium")
    few = ["--generations", "1", "--pop-size", "4", "--episodes", "2", "--bits", "4"]
    *progress, last = printed(name, *few)
    assert re.match(r"generation   1  mean return +-?\d+\.\d  steps +\d+  +\d+\.\d s$", progress[0])
    assert re.match(r"mean return of the policy: -?\d+\.\d$", last)


@pytest.mark.parametrize("arm", ["persistent", "redrawn", "reset"])
def test_a_memory_of_two_sequences(arm):
    *progress, last = printed("persistent_gru", "--arm", arm, "--count", "2", "--pop-size", "4")
    assert len(progress) == 2
    assert re.match(r"loss of the policy: 0\.\d+$", last)


def test_a_pole_is_balanced():
    pytest.importorskip("gymnasium")
    assert float(printed("cartpole", "--seed", "1")[-1].split()[-1]) >= 475
