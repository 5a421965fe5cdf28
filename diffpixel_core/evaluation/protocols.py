# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The ways in which papers turn a frame into labels to score, one row each.

They differ by several points of mIoU for the same weights, so a figure without its protocol means
nothing: the rows say in words what they do, and result files carry those words.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from diffpixel_core.deploy import cpu_tail, network_size, reference_tail
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import UNLABELLED

STREAMS = ('ensemble', 'rgb', 'depth')
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
_Labels = npt.NDArray[np.uint8]
_Size = tuple[int, int]
# Colour `(B, H, W, 3)` of 0..255, metres `(B, H, W)` and the size to resize to (None = as they
# are) -> `(streams, B, K, h, w)` float32 scores of the streams in the order of `STREAMS`.
Forward = Callable[[Tensor, Tensor, _Size | None], Tensor]


class ProtocolError(DiffPixelError):
    """A protocol that does not exist."""


class Seen(NamedTuple):
    """What a protocol makes of a frame.

    Attributes:
        labels: `(streams, H, W)` uint8 predictions of the streams in the order of `STREAMS`.
        truth: `(H, W)` uint8 labels to hold them against, 255 = unlabelled.
    """

    labels: _Labels
    truth: _Labels


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to score.

    Attributes:
        name: Key in `PROTOCOLS`.
        description: What it does, for result files.
        see: Makes labels of a frame: the network, colour `(1, H, W, 3)` uint8, depth `(1, H, W)`
            float32 metres, truth `(H, W)` uint8, and the size the network was trained at.
        scales: Of the size the network is deployed at, or of the frame in windows.
        flip: Whether the mirrored frame counts, too.
    """

    name: str
    description: str
    see: Callable[[Forward, Tensor, Tensor, _Labels, _Size], Seen]
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False


def find_protocol(name: str) -> Protocol:
    """Return a protocol by name.

    Raises:
        ProtocolError: If there is none of that name.
    """
    if name not in PROTOCOLS:
        raise ProtocolError(f'protocol {name!r} is unknown; choose one of {", ".join(PROTOCOLS)}')
    return PROTOCOLS[name]


def _see_whole(forward: Forward, rgb: Tensor, x: Tensor, truth: _Labels, trained: _Size) -> Seen:
    size = _size(truth)
    scores = forward(rgb, x, network_size(size, trained))[:, 0]
    if scores.device.type == 'cpu':
        labels = np.stack([cpu_tail(stream.numpy(), size)[0] for stream in scores])
    else:
        labels = torch.stack([reference_tail(stream, size)[0] for stream in scores]).cpu().numpy()
    return Seen(labels, truth)


def _see_windows(forward: Forward, rgb: Tensor, x: Tensor, truth: _Labels, trained: _Size) -> Seen:
    height, width = _size(truth)
    # As in training, beyond the frame there is black that was not measured.
    below, right = max(0, trained[0] - height), max(0, trained[1] - width)
    rgb, x = F.pad(rgb, (0, 0, 0, right, 0, below)), F.pad(x, (0, right, 0, below))
    total = count = torch.zeros(())
    for top in window_starts(rgb.shape[1], trained[0]):
        for left in window_starts(rgb.shape[2], trained[1]):
            rows, columns = slice(top, top + trained[0]), slice(left, left + trained[1])
            scores = forward(rgb[:, rows, columns], x[:, rows, columns], None)[:, 0]
            if total.ndim == 0:
                total = scores.new_zeros(*scores.shape[:2], *x.shape[1:])
                count = scores.new_zeros(x.shape[1:])
            total[..., rows, columns] += _enlarged(scores, trained).softmax(1)
            count[rows, columns] += 1
    mean = (total / count)[..., :height, :width]
    return Seen(_largest(mean), truth)


def window_starts(length: int, window: int) -> list[int]:
    """Return where windows begin along one side: two thirds of a window apart, the last at the end.

    Args:
        length: Pixels of the side, at least one window.
        window: Pixels of a window.
    """
    step = max(1, 2 * window // 3)
    return [*range(0, length - window, step), length - window]


def _see_scales(forward: Forward, rgb: Tensor, x: Tensor, truth: _Labels, trained: _Size) -> Seen:
    size = _size(truth)
    total = torch.zeros(())
    # The frame and its mirror image are one batch.
    rgb, x = torch.cat([rgb, rgb.flip(2)]), torch.cat([x, x.flip(2)])
    for network in scaled_sizes(network_size(size, trained)):
        scores = forward(rgb, x, network)
        plain, mirrored = (_enlarged(scores[:, i], size).softmax(1) for i in (0, 1))
        total = total + plain + mirrored.flip(3)
    return Seen(_largest(total), truth)


def scaled_sizes(size: _Size) -> list[_Size]:
    """Return the sizes of all scales, each side rounded to a multiple of 32, at least 32."""
    height, width = ([max(32, round(side * scale / 32) * 32) for scale in SCALES] for side in size)
    return list(zip(height, width, strict=True))


def _see_released(forward: Forward, rgb: Tensor, x: Tensor, truth: _Labels, trained: _Size) -> Seen:
    colour, metres = rgb.permute(0, 3, 1, 2).float(), x[:, None]
    labels = torch.from_numpy(truth)[None, None].float()
    sizes = released_sizes(_size(truth), min(trained))
    for size in sizes:
        colour = F.interpolate(colour, size, mode='bilinear', align_corners=False)
        metres = F.interpolate(metres, size, mode='bilinear', align_corners=False)
        labels = F.interpolate(labels, size, mode='nearest')
    scores = forward(colour.permute(0, 2, 3, 1), metres[:, 0], None)[:, 0]
    enlarged = F.interpolate(scores, sizes[-1], mode='bicubic', align_corners=False)
    return Seen(_largest(enlarged), labels[0, 0].to(torch.uint8).numpy())


def released_sizes(size: _Size, short: int) -> tuple[_Size, _Size]:
    """Return the two sizes a frame is resized to, one after the other.

    First the shorter side becomes `short`, then both sides grow to a multiple of 32: 530x730
    becomes 480x672, 480x640 stays as it is.

    Source: the validation transform of github.com/JiaDingCN/GeminiFusion at 5449fc1, which the
    published DiffPixelFormer inherits.
    """
    factor = short / min(size)
    first = round(size[0] * factor), round(size[1] * factor)
    return first, (math.ceil(first[0] / 32) * 32, math.ceil(first[1] / 32) * 32)


def _size(truth: _Labels) -> _Size:
    return truth.shape[0], truth.shape[1]


def _enlarged(scores: Tensor, size: _Size) -> Tensor:
    return F.interpolate(scores, size, mode='bilinear', align_corners=False)


def _largest(scores: Tensor) -> _Labels:
    """Return the class of the largest score along axis 1 as `(streams, H, W)` uint8."""
    assert scores.shape[1] <= UNLABELLED
    return np.asarray(scores.argmax(1).to(torch.uint8).cpu().numpy())


# Source: the protocols of public code as datasets papers state them: windows as CMX (2/3 of the
# training size), scales and mirror image as CMNeXt, `released` as the published DiffPixelFormer.
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({row.name: row for row in (
    Protocol('whole',
             'as deployed: the whole frame at about as many pixels as in training, scores enlarged '
             'bilinearly to the size of the labels, labels never resized', _see_whole),
    Protocol('slide',
             'windows of the training size, two thirds of a window apart, on the frame as it is '
             '(smaller frames padded with black that was not measured); softmax averaged by the '
             'number of windows over a pixel, labels never resized', _see_windows),
    Protocol('multiscale',
             'the whole frame and its mirror image at each scale of the deployed size, sides '
             'rounded to multiples of 32; scores enlarged bilinearly to the size of the labels, '
             'softmax averaged, labels never resized', _see_scales, SCALES, flip=True),
    Protocol('released',
             'as the published code: the shorter side becomes that of training, both sides grow to '
             'a multiple of 32 (480x640 for NYUDv2, 480x672 for SUN RGB-D of 530x730), colour and '
             'depth bilinear, LABELS RESIZED with them to the nearest pixel, scores enlarged '
             'bicubically', _see_released),
)})
