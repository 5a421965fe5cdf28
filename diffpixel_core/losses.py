# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The training loss: cross-entropy of the colour stream, the depth stream and their ensemble."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffpixel_core.labels import UNLABELLED
from diffpixel_core.models import Output


class Losses(NamedTuple):
    """Mean cross-entropy over labelled pixels, nats; each a scalar tensor.

    Attributes:
        rgb: Of the colour stream.
        x: Of the other stream.
        ensemble: Of the weighted mean; it trains the two weights only, see `models`.
    """

    rgb: Tensor
    x: Tensor
    ensemble: Tensor

    @property
    def total(self) -> Tensor:
        """The sum, which is minimised."""
        return self.rgb + self.x + self.ensemble


def segmentation_loss(output: Output, labels: Tensor, *, stride: int = 1,
                      phase: tuple[int, int] | None = None, class_weights: Tensor | None = None,
                      label_smoothing: float = 0.0) -> Losses:
    """Return the losses of a batch; unlabelled pixels do not count.

    A stream whose input was blanked keeps its loss: through the fusion it sees the other one, and
    that it learns to rely on it is the purpose of blanking.

    Args:
        output: Class scores `(B, K, h, w)`, any part of the labels' size.
        labels: `(B, H, W)` integers, 255 = unlabelled.
        stride: 1 compares every label pixel. 2 or 4 takes every second or fourth row and column:
            the same loss on those pixels, for about a sixth or a fifteenth of the time.
        phase: First row and column taken, each below `stride`; none = the middle, `stride // 2`.
            `draw_phase` gives one that differs from step to step.
        class_weights: `(K,)` float32 or none.
        label_smoothing: 0..1.

    Source: DiffPixelFormer, published training code: the sum of three, ignoring 255, of scores
    enlarged bilinearly to the size of the labels.
    """
    first = (stride // 2, stride // 2) if phase is None else phase
    assert max(first) < stride, f'phase {first} of stride {stride}'
    taken = labels[:, first[0]::stride, first[1]::stride].long()
    labelled = (taken != UNLABELLED).sum().clamp(min=1)
    height, width = output.ensemble.shape[2:]
    with torch.autocast(labels.device.type, enabled=False):  # it would multiply in half precision
        rows = _bilinear(height, labels.shape[1], first[0], stride, labels.device)
        columns = _bilinear(width, labels.shape[2], first[1], stride, labels.device)
        return Losses(*(_cross_entropy(rows @ (scores.float() @ columns.T), taken, labelled,
                                       class_weights, label_smoothing)
                        for scores in (*output.aux, output.ensemble)))


def draw_phase(stride: int, *, seed: int, step: int) -> tuple[int, int]:
    """Return the first row and column a step compares, each below `stride`.

    A function of (seed, step), so that a resumed run goes on as it would have. Over the steps
    every label pixel counts alike.
    """
    row, column = np.random.default_rng((seed, step)).integers(stride, size=2)
    return int(row), int(column)


def _bilinear(scores: int, labels: int, first: int, stride: int,
              device: torch.device) -> Tensor:
    """Return `(n, scores)` weights of the scores at the centres of n label pixels along one axis.

    Two matrices sample the very values that enlarging to the labels' size would have had at these
    pixels. Enlarging to a part of that size instead, as is common, has its pixels elsewhere: off
    by half a label pixel at stride 2, always to the same side, and so are the borders it learns.

    Args:
        scores: Length of the scores.
        labels: Length of the labels.
        first: First label pixel taken.
        stride: Every how many label pixels one is taken.
        device: Where the weights are wanted.
    """
    pixels = torch.arange(first, labels, stride, dtype=torch.float64, device=device)
    place = ((pixels + 0.5) * scores / labels - 0.5).clamp(0, scores - 1)
    # A hat over every score: 1 at its own place, 0 from the next one on.
    distance = (place[:, None] - torch.arange(scores, device=device)).abs()
    return (1 - distance).clamp(min=0).float()


def _cross_entropy(scores: Tensor, labels: Tensor, labelled: Tensor,
                   class_weights: Tensor | None, label_smoothing: float) -> Tensor:
    # Sum over a count of our own: the built-in mean is NaN for a batch without a labelled pixel.
    total = F.cross_entropy(scores, labels, weight=class_weights, ignore_index=UNLABELLED,
                            label_smoothing=label_smoothing, reduction='sum')
    if class_weights is not None:
        table = torch.cat([class_weights, class_weights.new_zeros(256 - len(class_weights))])
        labelled = table[labels].sum().clamp(min=1e-6)
    return total / labelled


def log_class_weights(pixels: Tensor) -> Tensor:
    """Return `(K,)` float32 class weights 1 / ln(1.1 + share), scaled to a mean of 1.

    Args:
        pixels: `(K,)` number of labelled pixels per class.

    Source: ENet, Paszke et al. 2016, section 5.2, with 1.1 for 1.02.
    """
    share = pixels.double() / pixels.sum().clamp(min=1)
    weights = 1 / torch.log(1.1 + share)
    return (weights / weights.mean()).float()
