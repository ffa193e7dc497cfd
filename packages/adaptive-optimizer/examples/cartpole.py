"""CartPole by REINFORCE: the mean return of each batch of episodes is the reward that steers AdamW's learning rate.

    pip install adaptive-optimizer gymnasium
    python cartpole.py [seeds]

Beside it, plain AdamW from the same weights and seeds. Episodes end after 500 steps; 475 counts as solved.
"""

import statistics
import sys

import gymnasium
import torch
from adaptive_optimizer import AdaptiveOptimizer
from torch import Tensor, nn
from torch.optim import AdamW

RATES = [1e-3, 1e-2, 3e-2]
EPISODES = 16
UPDATES = 60
DISCOUNT = 0.99


def play(policy: nn.Module, seed: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """One episode in each of the environments.

    Returns:
        Log-probabilities of the actions and a mask of steps that were played, both of shape (steps, EPISODES).
    """
    env = gymnasium.make_vec("CartPole-v1", num_envs=EPISODES, vectorization_mode="vector_entry_point")
    state, _ = env.reset(seed=seed)
    alive = torch.ones(EPISODES)
    chosen: list[Tensor] = []
    played: list[Tensor] = []
    while alive.any():
        logits = policy(torch.as_tensor(state)).log_softmax(dim=1)
        action = torch.multinomial(logits.detach().exp(), 1, generator=draw)
        chosen.append(logits.gather(1, action).squeeze(1))
        played.append(alive)
        state, _, terminated, truncated, _ = env.step(action.squeeze(1).numpy())
        alive = alive * torch.as_tensor(~(terminated | truncated)).float()
    env.close()
    return torch.stack(chosen), torch.stack(played)


def policy_loss(log_probabilities: Tensor, played: Tensor) -> Tensor:
    """REINFORCE with discounted rewards to go, standardised over all steps played."""
    to_go = torch.zeros_like(played)
    running = torch.zeros(EPISODES)
    for step in reversed(range(len(played))):
        running = played[step] * (1 + DISCOUNT * running)
        to_go[step] = running
    there = played.bool()
    advantage = (to_go - to_go[there].mean()) / (to_go[there].std() + 1e-6)
    return -(log_probabilities * advantage * played).sum() / played.sum()


def train(lr: float, seed: int, *, adapted: bool) -> list[float]:
    """The mean return of each batch of episodes."""
    torch.manual_seed(seed)
    policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    base = AdamW(policy.parameters(), lr=lr)
    opt = AdaptiveOptimizer(base, reward_rule="trend") if adapted else base
    draw = torch.Generator().manual_seed(seed)
    returns: list[float] = []
    for update in range(UPDATES):
        log_probabilities, played = play(policy, 1000 * seed + update, draw)
        returns.append(played.sum(dim=0).mean().item())
        opt.zero_grad()
        policy_loss(log_probabilities, played).backward()
        if isinstance(opt, AdaptiveOptimizer):
            opt.step_reward(returns[-1])
        opt.step()
    return returns


def main() -> None:
    """Train with both from three rates and print what came of it."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    torch.set_num_threads(1)
    print(f"{'lr':>6} {'optimizer':<26} {'mean return, last 10 batches, per seed':<40} mean")
    for lr in RATES:
        for adapted, name in ((False, "AdamW"), (True, "AdaptiveOptimizer(AdamW)")):
            last = [statistics.mean(train(lr, seed, adapted=adapted)[-10:]) for seed in seeds]
            print(f"{lr:>6g} {name:<26} {'  '.join(f'{each:5.1f}' for each in last):<40} {statistics.mean(last):.1f}")


if __name__ == "__main__":
    main()
