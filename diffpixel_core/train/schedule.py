# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""How long a run is, and the learning rate over it. The schedule always spans the run."""

import math

from diffpixel_core.config import OptimiserConfig, TrainConfig

STAGES = 3  # of the schedule 'released'; each starts at half the rate of the one before


def total_steps(config: TrainConfig, frames: int) -> int:
    """Return the length of a run in steps.

    Args:
        config: Its settings.
        frames: Number of training frames.
    """
    if config.steps is not None:
        return config.steps
    return max(1, math.ceil(config.epochs * frames / config.batch))


def lr_factor(progress: float, settings: OptimiserConfig) -> float:
    """Return the learning rate over its peak, 0..1.

    Args:
        progress: Part of the run that is over, 0..1.
        settings: Warm-up, shape and end of the schedule.
    """
    progress = min(1.0, max(0.0, progress))
    if settings.schedule != 'released':
        return _rise_and_fall(progress, settings)
    stage = min(STAGES - 1, int(progress * STAGES))
    return 0.5 ** stage * _rise_and_fall(progress * STAGES - stage, settings)


def _rise_and_fall(progress: float, settings: OptimiserConfig) -> float:
    if progress < settings.warmup:
        return progress / settings.warmup
    rest = (progress - settings.warmup) / (1 - settings.warmup)
    shape = ((1 + math.cos(math.pi * rest)) / 2 if settings.schedule == 'cosine'
             else max(0.0, 1 - rest) ** settings.power)
    return settings.final_lr_fraction + (1 - settings.final_lr_fraction) * shape
