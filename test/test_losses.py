# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The training loss against its definition, and what must not make it NaN."""

import pytest
import torch
import torch.nn.functional as F

from diffpixel_core.losses import draw_phase, log_class_weights, segmentation_loss
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
        output = scores(0)
        logits = output.aux[0].requires_grad_()
        losses = segmentation_loss(output, truth, class_weights=weights, stride=2)
        assert float(losses.total.detach()) == 0
        losses.rgb.backward()
        assert logits.grad is not None
        assert (logits.grad == 0).all()  # neither NaN nor a step


def enlarged(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(logits, size, mode='bilinear', align_corners=False)


@pytest.mark.parametrize('size', [(16, 24), (17, 23), (30, 41)])
@pytest.mark.parametrize(('stride', 'phase'), [
    (1, None), (2, None), (4, None), (2, (0, 0)), (2, (0, 1)), (4, (3, 0)), (4, (1, 2))])
def test_strided_loss_and_gradient_are_those_of_enlarged_scores_at_the_pixels_taken(
        stride: int, phase: tuple[int, int] | None, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 5, (2, *size), generator=generator)
    truth[:, 2:5] = 255
    ours, theirs = scores(0), scores(0)
    logits, expected = ours.aux[1].requires_grad_(), theirs.aux[1].requires_grad_()
    loss = segmentation_loss(ours, truth, stride=stride, phase=phase).x
    row, column = (stride // 2, stride // 2) if phase is None else phase
    at_pixels = enlarged(expected, size)[:, :, row::stride, column::stride]
    reference = F.cross_entropy(at_pixels, truth[:, row::stride, column::stride], ignore_index=255)
    assert torch.allclose(loss, reference, atol=1e-6)
    loss.backward()
    reference.backward()
    assert logits.grad is not None
    assert expected.grad is not None
    assert torch.allclose(logits.grad, expected.grad, atol=1e-7)


@pytest.mark.parametrize('stride', [2, 4])
def test_all_phases_together_are_the_full_loss(stride: int) -> None:
    output, truth = scores(0), labels(1)
    total = 0.0
    for row in range(stride):
        for column in range(stride):
            count = int((truth[:, row::stride, column::stride] != 255).sum())
            loss = segmentation_loss(output, truth, stride=stride, phase=(row, column))
            total += count * float(loss.rgb)
    full = float(segmentation_loss(output, truth).rgb)
    assert total / int((truth != 255).sum()) == pytest.approx(full, rel=1e-5)


@pytest.mark.parametrize('stride', [1, 2, 4])
def test_learnt_border_lies_where_the_labels_change(stride: int) -> None:
    # One image for each border, at 24 to 31 of 56 pixels; the scores themselves are trained.
    edges = torch.arange(24, 32)
    truth = (torch.arange(56) >= edges[:, None]).long()[:, None].expand(-1, 8, -1)
    logits = torch.zeros(8, 2, 2, 14, requires_grad=True)
    for step in range(300):
        loss = segmentation_loss(Output(logits, (logits, logits)), truth, stride=stride,
                                 phase=draw_phase(stride, seed=0, step=step)).rgb
        gradient, = torch.autograd.grad(loss, logits)
        logits = (logits - 40 * gradient).detach().requires_grad_()
    fine = enlarged(logits[:, 1:] - logits[:, :1], (8, 560))[:, 0, 4]
    found = (fine < 0).sum(1) / 10  # pixels left of the border
    shift = found - edges
    assert shift.abs().max() < 0.3
    assert abs(float(shift.mean())) < 0.1  # it was 0.5 at stride 2


def test_phases_are_repeatable_and_all_alike_often() -> None:
    drawn = [draw_phase(2, seed=3, step=step) for step in range(400)]
    assert drawn == [draw_phase(2, seed=3, step=step) for step in range(400)]
    assert drawn != [draw_phase(2, seed=4, step=step) for step in range(400)]
    counts = [drawn.count((row, column)) for row in range(2) for column in range(2)]
    assert sum(counts) == 400
    assert min(counts) > 70
    assert {draw_phase(1, seed=0, step=step) for step in range(9)} == {(0, 0)}


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


def test_autocast_leaves_the_loss_in_float32() -> None:
    expected = segmentation_loss(scores(0), labels(1), stride=2).total
    with torch.autocast('cpu', torch.bfloat16):
        loss = segmentation_loss(scores(0), labels(1), stride=2).total
    assert torch.equal(loss, expected)


def test_weights_made_while_scoring_do_not_spoil_training() -> None:
    with torch.inference_mode():
        segmentation_loss(scores(0), labels(1))
    output = scores(0)
    output.aux[0].requires_grad_()
    segmentation_loss(output, labels(1)).rgb.backward()
