# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The training loss against its definition, and what must not make it NaN."""

import pytest
import torch
import torch.nn.functional as F

from diffpixel_core.losses import log_class_weights, segmentation_loss
from diffpixel_core.models import Output


def scores(seed: int, classes: int = 5) -> Output:
    generator = torch.Generator().manual_seed(seed)
    rgb, x, ensemble = torch.randn(3, 2, classes, 4, 6, generator=generator).unbind()
    return Output(ensemble, (rgb, x))


def labels(seed: int, classes: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (2, 16, 24), generator=generator, dtype=torch.uint8)
    labels[:, :3] = 255
    return labels


def test_loss_is_the_sum_of_three_cross_entropies_at_the_size_of_the_labels() -> None:
    output, truth = scores(0), labels(1)
    losses = segmentation_loss(output, truth)
    expected = 0.0
    for logits, loss in zip((*output.aux, output.ensemble), losses, strict=True):
        enlarged = F.interpolate(logits, (16, 24), mode='bilinear', align_corners=False)
        log_p = enlarged.log_softmax(1)
        picked = [-log_p[b, truth[b, i, j].long(), i, j] for b in range(2) for i in range(16)
                  for j in range(24) if truth[b, i, j] != 255]
        mean = torch.stack(picked).mean()
        assert torch.allclose(loss, mean, atol=1e-5)
        expected += float(mean)
    assert float(losses.total) == pytest.approx(expected, rel=1e-5)


def test_unlabelled_pixels_have_no_gradient() -> None:
    output, truth = scores(0), labels(1)
    truth[:, :8] = 255  # upper half: two of four score rows; bilinear weights reach one further
    rgb = output.aux[0].requires_grad_()
    segmentation_loss(output, truth).rgb.backward()
    assert rgb.grad is not None
    assert (rgb.grad[:, :, 0] == 0).all()
    assert (rgb.grad[:, :, 3] != 0).any()


def test_batch_without_labels_costs_nothing() -> None:
    truth = torch.full((2, 16, 24), 255, dtype=torch.uint8)
    for weights in (None, torch.ones(5)):
        losses = segmentation_loss(scores(0), truth, class_weights=weights)
        assert float(losses.total) == 0


@pytest.mark.parametrize('stride', [2, 4])
def test_stride_changes_the_loss_little_on_smooth_labels(stride: int) -> None:
    truth = torch.zeros(2, 64, 96, dtype=torch.uint8)
    truth[:, :, 48:] = 3
    generator = torch.Generator().manual_seed(0)
    rgb, x, ensemble = torch.randn(3, 2, 5, 16, 24, generator=generator).unbind()
    output = Output(ensemble, (rgb, x))
    full, fast = (float(segmentation_loss(output, truth, stride=s).total) for s in (1, stride))
    assert fast == pytest.approx(full, rel=0.15)


def test_class_weights_weigh_and_normalise() -> None:
    output, truth = scores(0), labels(1)
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0, 1.0])
    ours = segmentation_loss(output, truth, class_weights=weights).ensemble
    enlarged = F.interpolate(output.ensemble, (16, 24), mode='bilinear', align_corners=False)
    theirs = F.cross_entropy(enlarged, truth.long(), weight=weights, ignore_index=255)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_rare_classes_weigh_more() -> None:
    weights = log_class_weights(torch.tensor([900.0, 90.0, 10.0, 0.0]))
    assert (weights.diff() > 0).all()
    assert float(weights.mean()) == pytest.approx(1)


def test_half_precision_scores_are_summed_in_float32() -> None:
    output = scores(0)
    half = Output(output.ensemble.bfloat16(), (output.aux[0].bfloat16(), output.aux[1].bfloat16()))
    loss = segmentation_loss(half, labels(1)).total
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(segmentation_loss(output, labels(1)).total), rel=0.01)
