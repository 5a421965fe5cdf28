# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Each protocol does what it says: against slow loops, and against the deployed program."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.checkpoints import load_model
from diffpixel_core.deploy import network_size
from diffpixel_core.evaluation.protocols import (
    PROTOCOLS,
    SCALES,
    STREAMS,
    ProtocolError,
    find_protocol,
    released_sizes,
    scaled_sizes,
    window_starts,
)
from diffpixel_core.evaluation.scoring import Predictor, score_samples
from diffpixel_core.frame import Frame
from diffpixel_core.modalities import normalisation
from diffpixel_core.models import Output
from diffpixel_core.segmenter import load_segmenter
from diffpixel_core.transforms import Sample

ROWS = normalisation(('rgb', 'depth'))
TRAINED = 32, 48
CLASSES = 5


class PerPixel(nn.Module):
    """Scores of each pixel by itself, at the size of the input; the streams see their own image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.colour, self.depth = nn.Conv2d(3, CLASSES, 1), nn.Conv2d(3, CLASSES, 1)
        self.sizes: list[tuple[int, int]] = []

    def forward(self, rgb: Tensor, x: Tensor) -> Output:
        self.sizes.append((rgb.shape[2], rgb.shape[3]))
        a, b = self.colour(rgb), self.depth(x)
        return Output((a + b) / 2, (a, b))


class Everywhere(nn.Module):
    """Scores that depend on the place in the image and on its neighbours, at a quarter of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.colour, self.depth = nn.Conv2d(3, CLASSES, 7, 4, 3), nn.Conv2d(3, CLASSES, 7, 4, 3)

    def forward(self, rgb: Tensor, x: Tensor) -> Output:
        a, b = self.colour(rgb), self.depth(x)
        slope = torch.linspace(-1, 1, a.shape[3]) * torch.arange(CLASSES)[:, None, None]
        return Output(0.7 * a + 0.3 * b + slope, (a + slope, b - slope))


def a_sample(height: int, width: int, *, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    rgb = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (width, height))
    depth_m = cv2.resize(rng.uniform(0.5, 6, (5, 7)).astype(np.float32), (width, height))
    depth_m[rng.random((height, width)) < 0.1] = 0
    labels = rng.integers(0, CLASSES, (height, width), dtype=np.uint8)
    labels[:2] = 255
    return Sample(f'frame {seed}', np.asarray(rgb, np.uint8), depth_m, labels)


def blocks(height: int, width: int) -> Sample:
    """Four even quarters."""
    rows, columns = np.mgrid[:height, :width]
    quarter = 2 * (rows >= height // 2) + (columns >= width // 2)
    colours = np.array([[20, 200, 90], [240, 30, 160], [5, 60, 250], [130, 130, 10]], np.uint8)
    metres = np.array([1, 2.5, 6, 4], np.float32)
    return Sample('blocks', colours[quarter], metres[quarter], quarter.astype(np.uint8))


def see(network: nn.Module, sample: Sample, protocol: str) -> tuple[npt.NDArray[np.uint8], ...]:
    return tuple(Predictor(network, normalisation=ROWS, input_size=TRAINED, protocol=protocol,
                           device='cpu')(sample))


def normalised(sample: Sample) -> tuple[Tensor, Tensor]:
    """Return both images as the network sees them, by the definition of the manifest."""
    rgb, x = ROWS.values()
    colour = (torch.from_numpy(sample.rgb).float() - torch.tensor(rgb['mean'])) \
        / torch.tensor(rgb['std'])
    depth = (torch.from_numpy(sample.depth_m).clamp(max=x['maximum']) - x['mean'][0]) / x['std'][0]
    return colour.permute(2, 0, 1)[None], depth.expand(3, -1, -1)[None]


def streams(output: Output) -> list[Tensor]:
    return [output.ensemble, *output.aux]


def test_whole_frames_get_the_labels_the_deployed_program_gives(tiny_model: Path) -> None:
    network, manifest = load_model(tiny_model)
    for sample in (a_sample(32, 48), a_sample(50, 61, seed=1)):
        seen = Predictor(network, normalisation=manifest.normalisation,
                         input_size=manifest.input_size, protocol='whole', device='cpu')(sample)
        segmenter = load_segmenter(tiny_model, 'torch', device='cpu')
        deployed = segmenter(Frame(sample.rgb, sample.depth_m))
        np.testing.assert_array_equal(seen.labels[STREAMS.index('ensemble')], deployed.labels)
        assert seen.truth is sample.labels


def test_streams_are_those_of_the_network() -> None:
    network, sample = PerPixel(), a_sample(*TRAINED)
    labels, _ = see(network, sample, 'whole')
    for own, scores in zip(labels, streams(network(*normalised(sample))), strict=True):
        np.testing.assert_array_equal(own, scores[0].argmax(0).numpy())
    assert (labels[1] != labels[2]).any(), 'colour and depth must not be one'


@pytest.mark.parametrize('size', [(32, 48), (45, 70), (64, 96), (20, 60), (90, 40)])
def test_windows_equal_a_slow_loop(size: tuple[int, int]) -> None:
    network, sample = Everywhere(), a_sample(*size)
    labels, truth = see(network, sample, 'slide')
    height, width = (max(a, b) for a, b in zip(size, TRAINED, strict=True))
    padded = Sample('', np.zeros((height, width, 3), np.uint8), np.zeros((height, width), 'f4'),
                    sample.labels)
    padded.rgb[:size[0], :size[1]] = sample.rgb
    padded.depth_m[:size[0], :size[1]] = sample.depth_m
    colour, depth = normalised(padded)
    total = np.zeros((3, CLASSES, height, width))
    count = np.zeros((height, width))
    step = 2 * TRAINED[0] // 3, 2 * TRAINED[1] // 3
    tops = {min(i * step[0], height - 32) for i in range(9)}
    lefts = {min(i * step[1], width - 48) for i in range(9)}
    for top in tops:
        for left in lefts:
            rows, columns = slice(top, top + 32), slice(left, left + 48)
            output = network(colour[..., rows, columns], depth[..., rows, columns])
            for i, scores in enumerate(streams(output)):
                large = F.interpolate(scores, TRAINED, mode='bilinear')[0]
                total[i][:, rows, columns] += large.softmax(0).detach().numpy()
            count[rows, columns] += 1
    assert count.min() >= 1
    expected = (total / count).argmax(1)[:, :size[0], :size[1]]
    assert (labels == expected).mean() > 0.999  # float32 against float64 sums
    assert truth is sample.labels


def test_windows_cover_a_side_and_end_with_it() -> None:
    for window in (32, 48, 480):
        for length in range(window, 4 * window):
            starts = window_starts(length, window)
            assert starts[0] == 0
            assert starts[-1] == length - window
            assert all(0 < b - a <= 2 * window // 3
                       for a, b in itertools.pairwise(starts))
    assert window_starts(730, 480) == [0, 250]
    assert window_starts(1242, 480) == [0, 320, 640, 762]


def test_scales_equal_a_slow_loop() -> None:
    network, sample = Everywhere(), a_sample(50, 70)
    labels, truth = see(network, sample, 'multiscale')
    total = np.zeros((3, CLASSES, 50, 70))
    deployed = network_size((50, 70), TRAINED)
    for scale in SCALES:
        size = [max(32, 32 * round(side * scale / 32)) for side in deployed]
        for mirrored in (False, True):
            rgb = torch.from_numpy(sample.rgb).permute(2, 0, 1)[None].float()
            depth = torch.from_numpy(sample.depth_m)[None, None]
            if mirrored:
                rgb, depth = rgb.flip(3), depth.flip(3)
            rgb = F.interpolate(rgb, size, mode='bilinear')
            depth = F.interpolate(depth, size, mode='nearest-exact')
            image = Sample('', rgb[0].permute(1, 2, 0).numpy(),  # type: ignore[arg-type]
                           depth[0, 0].numpy(), sample.labels)
            for i, scores in enumerate(streams(network(*normalised(image)))):
                large = F.interpolate(scores, (50, 70), mode='bilinear')[0].softmax(0)
                total[i] += (large.flip(2) if mirrored else large).detach().numpy()
    assert (labels == total.argmax(1)).mean() > 0.999
    assert truth is sample.labels


def test_scales_and_mirror_change_nothing_for_a_function_of_the_pixel() -> None:
    network, sample = PerPixel(), blocks(64, 96)
    whole, _ = see(network, sample, 'whole')
    scaled, _ = see(network, sample, 'multiscale')
    inside = np.ones((64, 96), bool)
    for edge, length in ((32, 64), (48, 96)):  # resizing mixes what lies on either side
        near = np.abs(np.arange(length) + 0.5 - edge) < 6
        inside &= ~(near[:, None] if length == 64 else near[None])
    assert len(np.unique(whole[0][inside])) >= 2
    np.testing.assert_array_equal(scaled[:, inside], whole[:, inside])
    assert network.sizes[1:] == scaled_sizes(TRAINED)
    assert len(set(network.sizes)) > 4, 'smaller and larger ones'


def test_scales_are_multiples_of_32() -> None:
    assert scaled_sizes((480, 640)) == [(256, 320), (352, 480), (480, 640), (608, 800),
                                        (704, 960), (832, 1120)]
    assert min(min(size) for size in scaled_sizes((32, 48))) == 32


def test_the_published_protocol_resizes_as_published() -> None:
    assert released_sizes((480, 640), 480)[-1] == (480, 640)
    assert released_sizes((530, 730), 480) == ((480, 661), (480, 672))
    assert released_sizes((468, 625), 480)[-1] == (480, 672)
    network, sample = PerPixel(), a_sample(53, 73)
    labels, truth = see(network, sample, 'released')
    assert labels.shape == (3, 32, 64)
    assert truth.shape == (32, 64)
    first = F.interpolate(torch.from_numpy(sample.labels)[None, None].float(), (32, 44))
    expected = F.interpolate(first, (32, 64))[0, 0].numpy()
    np.testing.assert_array_equal(truth, expected)
    assert (truth == 255).any(), 'unlabelled pixels stay unlabelled'
    assert network.sizes == [(32, 64)]


def test_scores_of_the_published_protocol_are_enlarged_bicubically() -> None:
    network, sample = Everywhere(), a_sample(*TRAINED)
    labels, _ = see(network, sample, 'released')  # 32x48 -> 32x48 -> 32x64
    colour = F.interpolate(torch.from_numpy(sample.rgb).permute(2, 0, 1)[None].float(), (32, 64),
                           mode='bilinear')
    depth = F.interpolate(torch.from_numpy(sample.depth_m)[None, None], (32, 64), mode='bilinear')
    image = Sample('', colour[0].permute(1, 2, 0).numpy(),  # type: ignore[arg-type]
                   depth[0, 0].numpy(), sample.labels)
    for own, scores in zip(labels, streams(network(*normalised(image))), strict=True):
        channels = [cv2.resize(channel.detach().numpy(), (64, 32), interpolation=cv2.INTER_CUBIC)
                    for channel in scores[0]]
        assert (own == np.argmax(channels, 0)).mean() > 0.999


def test_a_protocol_that_does_not_exist_is_named() -> None:
    with pytest.raises(ProtocolError, match=r"'half'.*whole, slide, multiscale, released"):
        find_protocol('half')
    assert all(row.description for row in PROTOCOLS.values())


def test_modules_keep_the_mode_they_were_in() -> None:
    network = PerPixel().train()
    network.depth.eval()
    score_samples(network, [a_sample(*TRAINED)], normalisation=ROWS, input_size=TRAINED,
                  protocol='whole', classes=CLASSES, device='cpu')
    assert network.training
    assert network.colour.training
    assert not network.depth.training
