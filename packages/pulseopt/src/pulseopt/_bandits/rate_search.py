"""The search for a learning rate: its factor, and when it is done."""

from typing import Any

from pulseopt._maths.rate_search import START, TARGET, is_found, next_multiplier


class RateSearch:
    """Moves a factor on the learning rate by equations (19) to (23), then holds it.

    Args:
        total_steps: T, the steps of the run.
    """

    def __init__(self, total_steps: int) -> None:
        self.total_steps = total_steps
        self.multiplier = START
        self.searching = True
        self._first = True  # whether the first episode, which decides nothing, has yet to end
        self._below = 0  # episodes in a row below the target

    def update(self, mean_q: float | None, next_step: int) -> None:
        """Moves the factor by an episode's mean alignment; None, where nothing could be compared, moves nothing."""
        if not self.searching:
            return
        if mean_q is not None and not self._first:
            self.multiplier = next_multiplier(self.multiplier, mean_q)
            self._below = self._below + 1 if mean_q < TARGET else 0
        self._first = False
        self.searching = not is_found(self._below, next_step, self.total_steps)

    def state_dict(self) -> dict[str, Any]:
        """Returns everything the next choice depends on."""
        return {
            "multiplier": self.multiplier,
            "searching": self.searching,
            "first": self._first,
            "below": self._below,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes from what `state_dict` returned."""
        self.multiplier, self.searching = state_dict["multiplier"], state_dict["searching"]
        self._first, self._below = state_dict["first"], state_dict["below"]
