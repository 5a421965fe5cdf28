# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""How weights move: parameter groups and averaged weights."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from diffpixel_core.config import OptimiserConfig
from diffpixel_core.train.sharding import local, spread_like, whole_state


def parameter_groups(model: nn.Module, settings: OptimiserConfig) -> list[dict[str, Any]]:
    """Return AdamW groups by part of the network; only matrices and kernels decay.

    Norms, biases, the factors alpha and beta, the ensemble's weights and the noise tokens do not:
    their natural size is not 0. (Layer norms and biases come in pairs of shape `(2, C)`, so the
    number of dimensions does not tell.) The decoder's rate and that of the ensemble's two weights
    are multiples of the encoder's.
    """
    factors = {'encoder': 1.0, 'head': settings.head_lr_factor,
               'ensemble': settings.ensemble_lr_factor}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        part = 'ensemble' if name == 'alpha' else name.partition('.')[0]
        groups.setdefault((part, _decays(name)), []).append(parameter)
    return [{'params': parameters, 'part': part, 'lr': settings.lr * factors[part],
             'peak_lr': settings.lr * factors[part],
             'weight_decay': settings.weight_decay if decays else 0.0}
            for (part, decays), parameters in groups.items()]


def _decays(name: str) -> bool:
    module, _, last = name.rpartition('.')
    return last.endswith('weight') and 'norm' not in module.rpartition('.')[2]


class AveragedModel:
    """The exponential moving average of a network's weights, running statistics included.

    Args:
        model: The network before it is wrapped; its present weights start the average.
        decay: Weight of the past per step; smaller in the first steps, so that the random start
            is forgotten. 0 = follow the network.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._module = copy.deepcopy(model).eval().requires_grad_(False)
        self._values: dict[str, Tensor] = self._module.state_dict()  # in the copy's own memory
        self._spread = False

    def spread_as(self, model: nn.Module) -> None:
        """Keep from now on only this process's part, if the network is sharded."""
        state = model.state_dict()
        self._spread = any(isinstance(tensor, DTensor) for tensor in state.values())
        if self._spread:
            self._values = {name: spread_like(tensor, state[name]).clone()
                            for name, tensor in self._values.items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the network's weights after its step number `step` (from 1)."""
        decay = min(self.decay, step / (10 + step))
        averages: list[Tensor] = []
        values: list[Tensor] = []
        state = model.state_dict()
        for name, average in self._values.items():
            if average.is_floating_point():  # running statistics of batch norms too
                averages.append(local(average))
                values.append(local(state[name]))
            else:
                average.copy_(state[name])
        torch._foreach_lerp_(averages, values, 1 - decay)

    def network(self) -> nn.Module:
        """Return the averaged network, whole and in eval mode; every process calls this."""
        if self._spread:
            self._module.load_state_dict(whole_state(self._values))
        return self._module

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages, whole; every process calls this."""
        return whole_state(self._values)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over averages, whole."""
        self._module.load_state_dict(state)
        if self._spread:
            self._values = {name: spread_like(state[name], tensor).clone()
                            for name, tensor in self._values.items()}
