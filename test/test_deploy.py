# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The deployable graph swallows any depth, and the fast tail equals the reference."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.deploy import DeployGraph, cpu_tail, network_size, reference_tail
from diffpixel_core.deploy.tail import contenders
from diffpixel_core.modalities import MODALITIES, normalisation

ROWS = normalisation(('rgb', 'depth'))


class Echo(nn.Module):
    """Return the normalised inputs as scores, to see what a network would see."""

    def forward(self, rgb: Tensor, x: Tensor) -> Tensor:
        return torch.cat((rgb, x), 1)


def test_what_was_not_measured_reaches_the_network_as_zero_metres() -> None:
    depth = torch.tensor([[[float('nan'), float('inf'), -float('inf'), -1, 0, 2.5, 50.0, 1.0]]])
    rgb = torch.zeros(1, 1, 8, 3, dtype=torch.uint8)
    seen = DeployGraph(Echo(), ROWS, (1, 8))(rgb, depth)[0, 3, 0]
    metres = seen * MODALITIES['depth'].std[0] + MODALITIES['depth'].mean[0]
    torch.testing.assert_close(metres, torch.tensor([0, 0, 0, 0, 0, 2.5, 10.0, 1.0]))


def test_resizing_never_mixes_a_hole_with_a_surface() -> None:
    draw = np.random.default_rng(0)
    depth = torch.from_numpy(draw.choice([0, 2], (1, 48, 64)).astype(np.float32))
    rgb = torch.from_numpy(draw.integers(0, 256, (1, 48, 64, 3), dtype=np.uint8))
    seen = DeployGraph(Echo(), ROWS, (31, 40))(rgb, depth)[0]
    metres = seen[3] * 1.5 + 2.5
    assert set(metres.round(decimals=4).unique().tolist()) == {0.0, 2.0}


def test_halving_averages_colour_over_two_by_two_pixels() -> None:
    rgb = torch.randint(0, 256, (1, 4, 8, 3), dtype=torch.uint8)
    seen = DeployGraph(Echo(), ROWS, (2, 4))(rgb, torch.ones(1, 4, 8))[0, :3]
    block = rgb[0].float().view(2, 2, 4, 2, 3).mean((1, 3)).permute(2, 0, 1)
    mean, std = (torch.tensor(MODALITIES['rgb'].mean), torch.tensor(MODALITIES['rgb'].std))
    torch.testing.assert_close(seen, (block - mean[:, None, None]) / std[:, None, None])


@pytest.mark.parametrize(('frame', 'size'), [
    ((480, 640), (240, 320)), ((240, 320), (240, 320)), ((424, 512), (256, 304)),
    ((720, 1280), (208, 368)), ((1280, 720), (368, 208)), ((4, 4000), (32, 8768)),
])
def test_the_network_sees_the_frames_own_shape(frame: tuple[int, int],
                                               size: tuple[int, int]) -> None:
    assert network_size(frame, (240, 320)) == size


@pytest.mark.parametrize('size', [(24, 32), (96, 128), (97, 45), (6, 8), (3, 5)])
def test_cpu_tail_equals_the_reference(size: tuple[int, int]) -> None:
    scores = torch.randn(7, 6, 8, generator=torch.Generator().manual_seed(0)) * 3
    labels, confidence = cpu_tail(scores.numpy(), size)
    wanted_labels, wanted_confidence = reference_tail(scores, size)
    # OpenCV's and torch's weights differ in the last bit: only near-ties may fall differently.
    assert (labels == wanted_labels.numpy()).mean() > 0.999
    assert np.abs(confidence.astype(int) - wanted_confidence.numpy().astype(int)).max() <= 1


@pytest.mark.parametrize('smooth', [1, 2, 4])
def test_classes_that_cannot_win_are_left_out_without_a_trace(smooth: int) -> None:
    draw = torch.Generator().manual_seed(smooth)
    coarse = torch.randn(1, 40, 12 // smooth, 16 // smooth, generator=draw) * 3
    scores = F.interpolate(coarse, (24, 32), mode='bilinear')[0]
    scores[::3] -= 6
    found = contenders(scores.numpy())
    labels, _ = cpu_tail(scores.numpy(), (96, 128))
    wanted, _ = reference_tail(scores, (96, 128))
    assert (labels == wanted.numpy()).mean() > 0.999
    assert set(np.unique(wanted)) <= set(found)
    assert len(found) < 40


def test_the_tail_of_one_class_and_of_ties_is_the_lowest_class() -> None:
    labels, confidence = cpu_tail(np.zeros((1, 2, 2), np.float32), (4, 4))
    assert not labels.any()
    assert (confidence == 255).all()
    labels, confidence = cpu_tail(np.zeros((4, 2, 2), np.float32), (4, 4))
    assert not labels.any()
    assert (confidence == 64).all()
