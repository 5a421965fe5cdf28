# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Batch norms while training: with statistics of a device, of all devices, or kept as they are."""

from typing import Any, Literal

import torch
from torch import Tensor, nn


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        tensor = tensor.contiguous().clone()
        torch.distributed.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        torch.distributed.all_reduce(gradient)
        return gradient


def _summed(tensor: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
    return total


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the maps of all processes together; torch's own is for GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` `(B, C, H, W)` normalised; every process calls this when training."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        values = x.float()
        ones = values.new_full((1,), values.numel() / values.shape[1])
        *total, count = _summed(torch.cat([values.sum((0, 2, 3)), ones])).split(
            (values.shape[1], 1))
        mean = total[0] / count
        centred = values - mean[:, None, None]
        variance = _summed(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale: Tensor = self.weight * torch.rsqrt(variance + self.eps)
        out: Tensor = (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)
        return out


def prepare_norms(network: nn.Module, kind: Literal['train', 'frozen', 'sync'],
                  world: int) -> None:
    """Replace the batch norms of a network, in place, if statistics of all devices are wanted."""
    if kind != 'sync' or world == 1:
        return
    for parent in list(network.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                synced = SyncBatchNorm(norm.num_features, norm.eps, norm.momentum)
                synced.load_state_dict(norm.state_dict())
                setattr(parent, name, synced.to(norm.weight.device))


def share_statistics(model: nn.Module, kind: Literal['train', 'frozen', 'sync'],
                     world: int) -> None:
    """Give the first process's running statistics to all: they are those that are saved.

    With statistics of each device ('train') every process would else score with its own.
    """
    if kind != 'train' or world == 1:
        return
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for statistic in (module.running_mean, module.running_var):
                assert statistic is not None
                torch.distributed.broadcast(statistic, 0)


def training_mode(model: nn.Module, kind: Literal['train', 'frozen', 'sync']) -> None:
    """Put a network into training mode; frozen batch norms keep their statistics.

    Their scale and shift are trained all the same, as in the published code.
    """
    model.train()
    if kind == 'frozen':
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
