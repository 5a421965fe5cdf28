# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a model as it is deployed: whole frames, labels at their native size."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from diffpixel_core.config import DataConfig
from diffpixel_core.datasets import held_out_samples, open_frames
from diffpixel_core.frame import Frame
from diffpixel_core.metrics import ConfusionMatrix
from diffpixel_core.segmenter import load_segmenter
from diffpixel_core.transforms import Sample

INPUTS = ('both', 'rgb_only', 'depth_only')


def evaluate_model(model: str | Path, data: DataConfig, *, engine: str = 'auto',
                   count: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Return the scores of a model on held-out frames, with both inputs and with one of them.

    The frames go through the same `Segmenter` as on a robot: bilinear scores at the labels' own
    size, arg max, labels never resized.

    Args:
        model: Model directory or the name of a shipped model.
        data: Where the held-out frames come from; its `val` split is used.
        engine: Runtime, see `segmenter.load_segmenter`.
        count: Only so many frames, evenly spread; none = all.
        seed: Of the sensor noise on exact depth: the same seed, the same images.

    Returns:
        `model`, `protocol` (how it was measured) and, for each of `both`, `rgb_only` (no depth)
        and `depth_only` (black colour), `miou`, `pixel_accuracy`, `mean_accuracy` (0..1 or None),
        `pixels` and `iou` by class name.

    Raises:
        DiffPixelError: If model or frames are missing or do not fit.
    """
    segmenter = load_segmenter(model, engine)
    labels = segmenter.label_space
    frames = open_frames(data, 'val')
    matrices = {inputs: ConfusionMatrix(len(labels)) for inputs in INPUTS}
    count = len(frames) if count is None else min(count, len(frames))
    samples = held_out_samples(frames, label_space=labels, sensor=data.val_sensor,
                               count=count, seed=seed)
    for sample in track(samples, 'scoring', total=count, console=Console(stderr=True)):
        for inputs, matrix in matrices.items():
            matrix.update(sample.labels, segmenter(_frame(sample, inputs)).labels)
    generated = data.source == 'generated'
    return {
        'model': segmenter.manifest.model,
        'protocol': {
            'frames': count,
            'data': 'generated rooms (no stand-in for a real data set)' if generated
                    else data.val_path or data.path,
            'room_seed': data.val_seed if generated else None,
            'sensor': data.val_sensor if generated else 'as stored',
            'seed': seed,
            'label_space': labels.name,
            'scoring': 'whole frame, bilinear scores at native label size, labels never resized',
            'engine': segmenter.engine_name,
            'precision': segmenter.precision,
        },
        **{inputs: matrix.as_dict(labels.names) for inputs, matrix in matrices.items()},
    }


def _frame(sample: Sample, inputs: str) -> Frame:
    rgb = np.zeros_like(sample.rgb) if inputs == 'depth_only' else sample.rgb
    depth_m = np.zeros_like(sample.depth_m) if inputs == 'rgb_only' else sample.depth_m
    return Frame(rgb, depth_m)
