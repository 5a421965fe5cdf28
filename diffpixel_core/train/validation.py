# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Scores on held-out frames while training: no augmentation, the same frames and noise each time.

Every process scores every n-th frame; counts are added as integers, so the scores do not depend on
their number, and no frame counts twice.
"""

from collections.abc import Mapping
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from diffpixel_core.config import TrainConfig
from diffpixel_core.datasets import Frames, held_out_samples
from diffpixel_core.evaluation.scoring import score_samples
from diffpixel_core.labels import LabelSpace
from diffpixel_core.train.ranks import together

PROTOCOL = 'whole'  # whole frames, scores enlarged to the labels' own size


def validate(network: nn.Module, frames: Frames, *, fabric: Fabric, config: TrainConfig,
             space: LabelSpace, normalisation: Mapping[str, Mapping[str, Any]],
             count: int | None = None) -> dict[str, float]:
    """Return the scores of a network, 0..1; every process calls this.

    Args:
        network: Whole, on the device.
        frames: The held-out frames.
        fabric: The processes.
        config: The settings.
        space: What the network predicts.
        normalisation: What the network sees, as in a manifest.
        count: Only so many frames, evenly spread; none = all.

    Returns:
        `miou`, `pixel_accuracy` and `mean_accuracy` of the ensemble, `miou_rgb` and `miou_depth`
        of the streams.
    """
    samples = held_out_samples(frames, label_space=space, sensor=config.data.val_sensor,
                               count=count, rank=fabric.global_rank, world=fabric.world_size)
    own = together(fabric, lambda: score_samples(
        network, samples, normalisation=normalisation, input_size=config.crop, protocol=PROTOCOL,
        classes=len(space), device=fabric.device, autocast=fabric.autocast))
    scores = own.reduce(fabric)
    ensemble = scores.matrices['ensemble']
    return {'miou': ensemble.miou, 'pixel_accuracy': ensemble.pixel_accuracy,
            'mean_accuracy': ensemble.mean_accuracy, 'miou_rgb': scores.matrices['rgb'].miou,
            'miou_depth': scores.matrices['depth'].miou}
