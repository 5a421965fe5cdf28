# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""How weights move: parameter groups, the learning rate over the run, averaged weights."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from diffpixel_core.config import OptimiserConfig


def parameter_groups(model: nn.Module, settings: OptimiserConfig) -> list[dict[str, Any]]:
    """Return AdamW groups; only matrices and kernels decay.

    Norms, biases, the factors alpha and beta, the ensemble's weights and the noise tokens do not:
    their natural size is not 0. (Layer norms and biases come in pairs of shape `(2, C)`, so the
    number of dimensions does not tell.)
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = name.startswith('head.'), _decays(name)
            groups.setdefault(key, []).append(parameter)
    return [{'params': parameters,
             'lr': settings.lr * (settings.head_lr_factor if head else 1.0),
             'peak_lr': settings.lr * (settings.head_lr_factor if head else 1.0),
             'weight_decay': settings.weight_decay if decays else 0.0}
            for (head, decays), parameters in groups.items()]


def _decays(name: str) -> bool:
    module, _, last = name.rpartition('.')
    return last.endswith('weight') and 'norm' not in module.rpartition('.')[2]


def lr_factor(progress: float, settings: OptimiserConfig) -> float:
    """Return the learning rate over its peak, 0..1.

    Args:
        progress: Part of the run that is over, 0..1.
        settings: Warm-up, shape and end of the schedule.
    """
    if progress < settings.warmup:
        return progress / settings.warmup
    rest = min(1.0, (progress - settings.warmup) / (1 - settings.warmup))
    shape = (1 - rest) ** settings.power if settings.schedule == 'poly' \
        else (1 + math.cos(math.pi * rest)) / 2
    return settings.final_lr_fraction + (1 - settings.final_lr_fraction) * shape


class AveragedModel:
    """A copy of a network whose weights are the exponential moving average of the original's.

    Args:
        model: The network; its present weights start the average.
        decay: Weight of the past per step; smaller in the first steps, so that the random start
            is forgotten. 0 = follow the network.

    Attributes:
        module: The copy, in eval mode.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the network's weights after its step number `step` (from 1)."""
        decay = min(self.decay, step / (10 + step))
        averages: list[Tensor] = []
        values: list[Tensor] = []
        state = model.state_dict()
        for name, average in self.module.state_dict().items():
            if average.is_floating_point():  # running statistics of batch norms too
                averages.append(average)
                values.append(state[name])
            else:
                average.copy_(state[name])
        torch._foreach_lerp_(averages, values, 1 - decay)
