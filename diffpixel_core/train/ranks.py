# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The processes of a run acting together: what one learns or fails at, all know.

Every function here is called by all processes at the same point of the run.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.train.guard import TrainError

T = TypeVar('T')


def summed(fabric: Fabric, values: Sequence[float]) -> list[float]:
    """Return the sums of each value over all processes, in float64."""
    if fabric.world_size == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=fabric.device)
    torch.distributed.all_reduce(total)
    return [float(value) for value in total]


def added(fabric: Fabric, tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, in its own dtype."""
    if fabric.world_size > 1:
        tensor = tensor.to(fabric.device, copy=True)
        torch.distributed.all_reduce(tensor)
    return tensor


def gathered(fabric: Fabric, value: T) -> list[T]:
    """Return the value of every process, in the order of their ranks."""
    values = [value] * fabric.world_size
    if fabric.world_size > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def first_alone(fabric: Fabric, action: Callable[[], T]) -> T:
    """Return the outcome of an action that the first process of every machine does before the rest.

    For what leaves files behind that the others then find.

    Raises:
        DiffPixelError: What it raised; in all processes, if it failed in one.
    """
    error: DiffPixelError | None = None
    outcome: list[T] = []
    if fabric.local_rank == 0:
        try:
            outcome.append(action())
        except DiffPixelError as caught:
            error = caught
    _raise_together(fabric, error)
    return outcome[0] if outcome else action()


def together(fabric: Fabric, action: Callable[[], T]) -> T:
    """Return the outcome of an action of every process, in each its own.

    Raises:
        DiffPixelError: What it raised; in all processes, if it failed in one.
    """
    error: DiffPixelError | None = None
    outcome: list[T] = []
    try:
        outcome.append(action())
    except DiffPixelError as caught:
        error = caught
    _raise_together(fabric, error)
    return outcome[0]


def only_first(fabric: Fabric, action: Callable[[], object]) -> None:
    """Do something in the first process only.

    Raises:
        DiffPixelError: What it raised; in all processes.
    """
    error: DiffPixelError | None = None
    if fabric.is_global_zero:
        try:
            action()
        except DiffPixelError as caught:
            error = caught
    _raise_together(fabric, error)


def _raise_together(fabric: Fabric, error: DiffPixelError | None) -> None:
    messages = [text for text in gathered(fabric, None if error is None else str(error)) if text]
    if error is not None:
        raise error
    if messages:
        raise TrainError(messages[0])
