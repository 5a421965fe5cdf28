# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The training loss: cross-entropy of the colour stream, the depth stream and their ensemble."""

from typing import NamedTuple

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
                      class_weights: Tensor | None = None,
                      label_smoothing: float = 0.0) -> Losses:
    """Return the losses of a batch; unlabelled pixels do not count.

    A stream whose input was blanked keeps its loss: through the fusion it sees the other one, and
    that it learns to rely on it is the purpose of blanking.

    Args:
        output: Class scores `(B, K, H/4, W/4)`.
        labels: `(B, H, W)` integers, 255 = unlabelled.
        stride: 1 compares at the labels' size. 2 or 4 enlarges the scores to 1/2 or 1/4 of it and
            takes every second or fourth label pixel, for a quarter or a sixteenth of the time; the
            pixel taken lies half a pixel right of and below the score's centre, and so will the
            borders that are learnt.
        class_weights: `(K,)` float32 or none.
        label_smoothing: 0..1.

    Source: DiffPixelFormer, published training code: the sum of three, ignoring 255.
    """
    # Of each stride x stride cell take the pixel nearest to its centre.
    labels = labels[:, stride // 2::stride, stride // 2::stride].long()
    labelled = (labels != UNLABELLED).sum().clamp(min=1)
    return Losses(*(_cross_entropy(scores, labels, labelled, class_weights, label_smoothing)
                    for scores in (*output.aux, output.ensemble)))


def _cross_entropy(scores: Tensor, labels: Tensor, labelled: Tensor,
                   class_weights: Tensor | None, label_smoothing: float) -> Tensor:
    scores = scores.float()
    size = labels.shape[1:]
    if scores.shape[2:] != size:
        scores = F.interpolate(scores, size, mode='bilinear', align_corners=False)
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
