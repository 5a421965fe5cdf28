# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Tensors that are spread over devices (strategy 'fsdp'), and the same tensors whole.

Checkpoints and models hold whole tensors, so that they do not depend on the strategy.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with all its parts; every process calls this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of whole tensors; every process calls this."""
    return {name: whole(tensor).detach() for name, tensor in state.items()}


def spread_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor, known to every process, spread as another one is."""
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def load_whole(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy whole tensors into a network, spread or not; strict."""
    own = network.state_dict()
    assert own.keys() == state.keys()
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(spread_like(state[name], tensor))


def whole_optimiser_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return an optimiser's state dict of whole tensors; every process calls this."""
    return {**state, 'state': {
        index: {key: whole(value) if isinstance(value, Tensor) else value
                for key, value in row.items()} for index, row in state['state'].items()}}


def spread_optimiser_state(state: dict[str, Any], parameters: Iterable[Tensor]) -> dict[str, Any]:
    """Return an optimiser's state dict spread as its parameters are, given in its order."""
    ordered = list(parameters)
    return {**state, 'state': {
        index: {key: (spread_like(value, ordered[index])
                      if isinstance(value, Tensor) and value.shape == ordered[index].shape
                      else value) for key, value in row.items()}
        for index, row in state['state'].items()}}
