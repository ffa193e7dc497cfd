"""The exponential moving average of the losses.

E ← α L + (1 - α) E    (4)  α is the weight of the newest loss
"""

from collections.abc import Sequence


def ema_step(alpha: float, mean: float, loss: float) -> float:
    """Returns the average after one more loss."""
    return alpha * loss + (1.0 - alpha) * mean  # (4)


def ema_ends(losses: Sequence[float], alpha: float, carried: float | None = None) -> tuple[float, float]:
    """Returns the average before and after an episode.

    Args:
        losses: the episode's losses, at least one.
        alpha: α, the weight of the newest loss.
        carried: the average that earlier episodes ended with. None: the episode begins at its own first loss.

    Returns:
        ``(start, end)`` in units of the loss.
    """
    start = losses[0] if carried is None else carried
    end = start
    for loss in losses[1:] if carried is None else losses:
        end = ema_step(alpha, end, loss)
    return start, end
