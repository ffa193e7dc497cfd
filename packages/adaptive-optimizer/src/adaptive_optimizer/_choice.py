"""Which rules were asked for, by which argument, and what they need."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adaptive_optimizer.rules import Rule, chosen

ARGUMENTS = {
    "lr": "lr_rule",
    "momentum": "momentum_rule",
    "beta1": "betas_rule[0]",
    "beta2": "betas_rule[1]",
    "alpha": "alpha_rule",
    "wd": "wd_rule",
    "reward": "reward_rule",
}
KEYS = {"lr": "lr", "momentum": "momentum", "beta1": "betas", "beta2": "betas", "alpha": "alpha", "wd": "weight decay"}


@dataclass(frozen=True)
class Choice:
    """The rules of every knob, by name; a knob without any has an empty dictionary."""

    rules: dict[str, dict[str, Rule]]

    @classmethod
    def of(cls, lr: Any, momentum: Any, betas: Any, alpha: Any, wd: Any, reward: Any) -> "Choice":
        """Look up what the arguments name.

        Raises:
            TypeError: a rule is no name, callable or None; ``betas`` is no pair.
            ValueError: a rule is unknown, twice there or empty.
        """
        pair: Sequence[Any] = (None, None) if betas is None else betas
        if not isinstance(betas, tuple | list | None) or len(pair) != 2:
            raise TypeError(f"betas_rule must be a pair of rules, such as ('relative', 'variance'), got {betas!r}")
        asked: dict[str, Any] = {"lr": lr, "momentum": momentum, "beta1": pair[0], "beta2": pair[1]}
        asked |= {"alpha": alpha, "wd": wd, "reward": reward}
        combine = ("lr", "reward")
        return cls(
            {
                knob: chosen(knob, rule, argument=ARGUMENTS[knob], combine=knob in combine)
                for knob, rule in asked.items()
            }
        )

    @property
    def knobs(self) -> set[str]:
        """The knobs that the rules move; rewards move the lr."""
        return {"lr" if knob == "reward" else knob for knob, rules in self.rules.items() if rules}

    @property
    def names(self) -> dict[str, str]:
        """For each argument with a rule: the rule's name, parts joined by "+"."""
        return {ARGUMENTS[knob]: "+".join(rules) for knob, rules in self.rules.items() if rules}

    def of_present(self, present: set[str], optimizer: str, *, strict: bool) -> "Choice":
        """The choice without rules for knobs that the optimizer lacks.

        Args:
            present: the knobs it has.
            optimizer: its name, for the message.
            strict: refuse such rules instead.

        Raises:
            ValueError: naming the rule, the optimizer and what it has.
        """
        kept: dict[str, dict[str, Rule]] = {}
        for knob, rules in self.rules.items():
            needed = "lr" if knob == "reward" else knob
            kept[knob] = rules if needed in present else {}
            if strict and rules and not kept[knob]:
                has = ", ".join(sorted({KEYS[each] for each in present})) or "none that a rule moves"
                raise ValueError(
                    f"{ARGUMENTS[knob]} must be None because {optimizer} has no {KEYS[needed]}, got "
                    f"{'+'.join(rules)!r} (it has: {has}); drop the rule, or pass strict=False to let it rest"
                )
        return Choice(kept)
