"""Learning rate over a run: linear warm-up, then down along a cosine or a power."""

from __future__ import annotations

import math

from training.loop.config import OptimiserConfig, RunConfig

__all__ = ["progress", "rate"]


def progress(run: RunConfig, step: int, seconds: float) -> float:
    """Return how much of the run is over, 0 to 1, by whichever limit is nearer.

    Parameters
    ----------
    run
        With ``steps``, ``minutes`` or both.
    step, seconds
        Done so far.
    """
    by_steps = step / run.steps if run.steps else 0.0
    by_clock = seconds / (60 * run.minutes) if run.minutes else 0.0
    return min(1.0, max(by_steps, by_clock))


def rate(config: OptimiserConfig, step: int, done: float) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    config
        Of the optimiser.
    step
        From 0.
    done
        What :func:`progress` says.
    """
    warm = min(1.0, (step + 1) / config.warm_up) if config.warm_up else 1.0
    if config.schedule == "constant":
        left = 1.0
    elif config.schedule == "cosine":
        left = 0.5 * (1 + math.cos(math.pi * done))
    else:
        left = (1.0 - done) ** config.power
    return config.learning_rate * warm * (config.floor + (1 - config.floor) * left)
