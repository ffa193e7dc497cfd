"""Steps and temperatures of a group: tensors in the state, numbers that nobody has to read from them.

Every parameter's state holds its step and its temperature as tensors, as `torch.optim` does. The tensors are places in
two rows per group, so that a step of the whole group advances them all in two operations. The same numbers stand here
as Python's; they are read from the rows again only after somebody else has written to those.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thermolion._equations import cool

State = dict[str, Any]


class Clock:
    """Where the parameters of one group stand, each on its own count."""

    def __init__(self, states: Sequence[State]) -> None:
        """Take over what ``states`` hold, one for each parameter of the group; an empty one begins at step 0, T = 1."""
        self.steps = [round(float(state["step"])) if state else 0 for state in states]
        self.temperatures = [float(state["temp"]) if state else 1.0 for state in states]
        with torch.inference_mode(False):
            self._steps = torch.tensor(self.steps, dtype=torch.float32)
            self._temps = torch.tensor(self.temperatures, dtype=torch.float64)
            self._places = list(zip(self._steps.unbind(), self._temps.unbind(), strict=True))
        for state, (step, temp) in zip(states, self._places, strict=True):
            if state:
                state["step"], state["temp"] = step, temp
        self._note()

    def fits(self, states: Sequence[State]) -> bool:
        """Say whether every state's tensors are still the ones of its place."""
        if len(states) != len(self._places):
            return False
        return all(
            not state or (state["step"] is step and state["temp"] is temp)
            for state, (step, temp) in zip(states, self._places, strict=True)
        )

    def begin(self, place: int) -> tuple[Tensor, Tensor]:
        """Return step and temperature of a parameter that has not taken a step."""
        step, temp = self._places[place]
        if self.steps[place] or self.temperatures[place] != 1.0:  # it had a state before
            step.zero_()
            temp.fill_(1.0)
            self._read()
        return step, temp

    def advance(self, places: Sequence[int], decay: float) -> None:
        """Count a step of the parameters at ``places`` and cool their temperatures."""
        if self._versions != (self._steps._version, self._temps._version):
            self._read()
        for place in places:
            self.steps[place] += 1
            self.temperatures[place] = cool(self.temperatures[place], decay)
        if len(places) == len(self._places):
            self._steps.add_(1)
            self._temps.mul_(decay)
        else:
            for place in places:
                step, temp = self._places[place]
                step.add_(1)
                temp.mul_(decay)
        self._note()

    def _read(self) -> None:
        self.steps = [round(float(step)) for step, _ in self._places]
        self.temperatures = [float(temp) for _, temp in self._places]
        self._note()

    def _note(self) -> None:
        self._versions = self._steps._version, self._temps._version


def advance_on_device(states: Sequence[State], decay: float) -> None:
    """Do the same where step and temperature are tensors on the device, of which no number is known."""
    torch._foreach_add_([state["step"] for state in states], 1)
    torch._foreach_mul_([state["temp"] for state in states], decay)  # (1)
