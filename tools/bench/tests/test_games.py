import gymnasium
import numpy as np
import pytest
from bench.workloads.games import Acrobot, CartPole


@pytest.mark.parametrize(("name", "game"), [("CartPole-v1", CartPole()), ("Acrobot-v1", Acrobot())])
def test_each_step_is_that_of_gymnasium(name, game):
    count, generator = 5, np.random.default_rng(0)
    game.reset(count, np.random.Generator(np.random.PCG64(1)))
    theirs = [gymnasium.make(name).unwrapped for _ in range(count)]
    for env, state in zip(theirs, game.state, strict=True):
        env.reset(seed=0)
        env.state = state.copy()
    alive = np.ones(count, bool)
    for _ in range(120):
        actions = generator.integers(game.actions, size=count)
        seen, reward, ended = game.step(actions)
        for i in np.flatnonzero(alive):
            other, their_reward, their_end, _, _ = theirs[i].step(int(actions[i]))
            assert seen[i] == pytest.approx(other, rel=1e-5, abs=1e-6)
            assert (reward[i], ended[i]) == (their_reward, their_end)
        alive &= ~ended
    assert name == "Acrobot-v1" or not alive.all()


@pytest.mark.parametrize("game", [CartPole(), Acrobot()])
def test_a_restart_leaves_the_other_games_alone(game):
    generator = np.random.Generator(np.random.PCG64(1))
    game.reset(3, generator)
    for _ in range(5):
        game.step(np.ones(3, np.int64))
    before = game.state.copy()
    game.restart(np.array([False, True, False]), generator)
    assert np.array_equal(game.state[[0, 2]], before[[0, 2]])
    assert not np.array_equal(game.state[1], before[1])
