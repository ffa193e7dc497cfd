"""What a structured manager may be built from: two axes of candidates, and the controllers that fit them."""

from collections.abc import Sequence

from pulseopt._checks import check

CONTROL_MODES = ("independent", "conditional", "joint")
CONTEXT_MODES = ("none", "trend", "trend_phase")


def checked_axis(name: str, values: Sequence[float], zero: bool) -> list[float]:
    """Return an axis as floats.

    Args:
        name: the argument's name, for messages.
        values: the candidates.
        zero: whether 0 is one.

    Raises:
        ValueError: there is none, or one is negative, 0 where it may not be, not finite, or there twice.
    """
    if not values:
        raise ValueError(f"{name} must contain at least one value.")
    if any(value < 0.0 or (value == 0.0 and not zero) for value in values):
        raise ValueError(f"{name} values must all be {'non-negative' if zero else 'positive'}.")
    for position, value in enumerate(values):
        check(f"{name}[{position}]", value, "[0, inf)")
        if value in values[:position]:
            raise ValueError(f"{name} contains a duplicate value: {value}.")
    return [float(value) for value in values]


def check_context(mode: str, total_steps: int | None, window: int, epsilon: float) -> None:
    """Refuse a context that no episode could be placed in.

    Raises:
        ValueError: an argument lies outside its range.
    """
    if mode not in CONTEXT_MODES:
        raise ValueError("context_mode must be 'none', 'trend', or 'trend_phase'.")
    if window <= 0:
        raise ValueError("context_trend_window must be positive.")
    if epsilon < 0.0:
        raise ValueError("context_trend_epsilon must be non-negative.")
    check("context_trend_epsilon", epsilon, "[0, inf)")
    if mode == "trend_phase" and (total_steps is None or total_steps <= 0):
        raise ValueError("trend_phase context requires a positive total_training_steps.")


def check_controllers(
    mode: str, lr_arms: int, noise_arms: int, lr_controller: object, noise_controller: object
) -> None:
    """Refuse controllers that do not fit the axes: none where there is one candidate, one for every choice.

    Raises:
        TypeError: a controller is missing, or there is one where nothing is to be chosen.
        ValueError: a list of controllers has the wrong length.
    """
    if mode == "joint":
        if noise_controller is not None:
            raise TypeError("joint mode expects its one controller as lr_controller, and no noise controller.")
        if (lr_controller is None) != (lr_arms * noise_arms == 1):
            raise TypeError("joint mode expects one controller over all pairs, and none where there is one pair.")
        return
    if lr_arms == 1 and lr_controller is not None:
        raise TypeError("Single-candidate LR axes must not create a controller.")
    if lr_arms > 1 and lr_controller is None:
        raise TypeError("Adaptive LR axes require a controller.")
    if noise_arms == 1:
        if noise_controller is not None:
            raise TypeError("Single-candidate noise axes must not create a controller.")
    elif mode == "conditional" and lr_arms > 1:
        if not isinstance(noise_controller, list):
            raise TypeError("conditional mode expects one noise controller per LR candidate.")
        if len(noise_controller) != lr_arms:  # pyright: ignore[reportUnknownArgumentType]
            raise ValueError("conditional mode requires exactly one noise controller per LR candidate.")
    elif noise_controller is None or isinstance(noise_controller, list):
        where = "independent mode" if mode == "independent" else "conditional mode with one LR candidate"
        raise TypeError(f"{where} expects one noise controller.")
