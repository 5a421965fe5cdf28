# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""One optimiser step: every device's parts of its batch, one loss over all of them, one update."""

import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.parallel import ParallelStrategy
from torch import Tensor, nn

from diffpixel_core.config import TrainConfig
from diffpixel_core.datasets import Batch
from diffpixel_core.deploy import NetworkInputs
from diffpixel_core.devices import precision_of
from diffpixel_core.labels import UNLABELLED
from diffpixel_core.losses import draw_phase, segmentation_loss
from diffpixel_core.train import norms
from diffpixel_core.train.guard import TrainError
from diffpixel_core.train.ranks import added, gathered
from diffpixel_core.train.sharding import whole

logger = logging.getLogger(__name__)


class Stepper:
    """Takes steps.

    The losses of a step are means over the labelled pixels of all its frames, wherever these are:
    a part counts by its labelled pixels, so that several devices or parts give the gradient that
    one device would have found for all frames at once.

    Args:
        fabric: The processes.
        model: The network as Fabric wraps it.
        optimiser: As Fabric wraps it.
        inputs: What normalises images.
        config: The settings.
        class_weights: `(K,)` float32 or none.
    """

    def __init__(self, fabric: Fabric, model: nn.Module, optimiser: Any, inputs: NetworkInputs,
                 config: TrainConfig, class_weights: Tensor | None) -> None:
        self._fabric, self._model, self._optimiser = fabric, model, optimiser
        self._inputs, self._config, self._class_weights = inputs, config, class_weights
        self._several = isinstance(fabric.strategy, ParallelStrategy)
        self._scaled = precision_of(fabric) == '16-mixed'  # a scaler skips what overflows

    def weight(self, batch: Batch, step: int) -> float:
        """Return how much a batch counts: labelled pixels, or the sum of their class weights."""
        stride = self._config.loss.stride
        row, column = self._phase(step) or (stride // 2, stride // 2)
        labels = batch.labels[:, row::stride, column::stride]
        labels = labels[labels != UNLABELLED]
        if self._class_weights is None:
            return float(labels.numel())
        counts = torch.bincount(labels.long(), minlength=len(self._class_weights))
        return float((counts * self._class_weights.cpu()).sum(dtype=torch.float64))

    def take(self, parts: Sequence[Batch], step: int, *, weights: Sequence[float],
             total_weight: float, lr_factor: float) -> dict[str, float]:
        """Take step number `step` (from 0) and return what to log, the same in every process.

        Args:
            parts: This device's share of the frames.
            step: Number of the step.
            weights: How much each part counts.
            total_weight: How much the parts of all devices count together.
            lr_factor: Learning rate over its peak.

        Raises:
            TrainError: If loss or gradient are not finite; the weights are as before.
        """
        fabric = self._fabric
        for group in self._optimiser.param_groups:
            group['lr'] = group['peak_lr'] * lr_factor
        norms.training_mode(self._model, self._config.batch_norm)
        if total_weight == 0:
            logger.warning('step %d: no labelled pixel in %s', step + 1,
                           ', '.join(name for part in parts for name in part.names))
        sums = torch.zeros(3, device=fabric.device)
        for i, (part, weight) in enumerate(zip(parts, weights, strict=True)):
            share = weight / total_weight if total_weight else 0.0
            last = i == len(parts) - 1
            hold = (fabric.no_backward_sync(self._model, enabled=not last)  # type: ignore[arg-type]
                    if self._several else contextlib.nullcontext())
            with hold:
                sums += self._backward(part, step, share)
        norms.share_statistics(self._model, self._config.batch_norm, fabric.world_size)
        losses = added(fabric, sums)
        self._require_finite(losses, sums, parts, step)
        norm = self._clip()
        if not torch.isfinite(norm) and not self._scaled:
            raise TrainError(f'the gradient is not finite at step {step + 1} on '
                             f'{self._names(parts)}; look at these files, or lower optimiser.lr')
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        rgb, x, ensemble = (float(loss) for loss in losses)
        return {'loss': rgb + x + ensemble, 'loss_rgb': rgb, 'loss_x': x,
                'loss_ensemble': ensemble, 'gradient_norm': float(norm),
                'lr': self._config.optimiser.lr * lr_factor}

    def _phase(self, step: int) -> tuple[int, int] | None:
        loss = self._config.loss
        if loss.phase == 'fixed':
            return None
        return draw_phase(loss.stride, seed=self._config.seed, step=step)

    def _backward(self, part: Batch, step: int, share: float) -> Tensor:
        """Add the gradient of a part and return its share of the three losses."""
        fabric, settings = self._fabric, self._config.loss
        rgb, x = self._inputs(fabric.to_device(part.rgb), fabric.to_device(part.depth_m))
        losses = segmentation_loss(
            self._model(rgb, x), fabric.to_device(part.labels), stride=settings.stride,
            phase=self._phase(step), class_weights=self._class_weights,
            label_smoothing=settings.label_smoothing)
        # Several devices average their gradients; what is wanted is the sum.
        fabric.backward(losses.total * (share * fabric.world_size))
        return torch.stack([loss.detach() for loss in losses]) * share

    def _require_finite(self, losses: Tensor, own: Tensor, parts: Sequence[Batch],
                        step: int) -> None:
        if torch.isfinite(losses).all():
            return
        names = [] if torch.isfinite(own).all() else [name for part in parts for name in part.names]
        found = [name for some in gathered(self._fabric, names) for name in some]
        raise TrainError(f'the loss is {float(losses.sum())} at step {step + 1} on '
                         f'{", ".join(found)}; look at these files, or lower optimiser.lr')

    def _names(self, parts: Sequence[Batch]) -> str:
        names = gathered(self._fabric, [name for part in parts for name in part.names])
        return ', '.join(name for some in names for name in some)

    def _clip(self) -> Tensor:
        limit = self._config.optimiser.clip_norm or float('inf')
        norm = self._fabric.clip_gradients(self._model, self._optimiser, max_norm=limit,
                                           error_if_nonfinite=False)
        assert norm is not None
        return whole(norm)
