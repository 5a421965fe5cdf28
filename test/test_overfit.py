# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The whole chain learns: a network from scratch knows two frames by heart in a few minutes."""

import csv
from pathlib import Path

import pytest

from diffpixel_core.checkpoints import load_model
from diffpixel_core.config import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    OptimiserConfig,
    TrainConfig,
)
from diffpixel_core.geometry import NYU_CAMERA
from diffpixel_core.synthetic.generate import generate_frames
from diffpixel_core.train import train

AS_STORED = AugmentConfig(flip=0, scale=(1, 1), jitter=0, grey=0, blur=0, noise=0, jpeg=0,
                          sensors=('kinect_v1',), holes=0, depth_scale=0, drop_depth=0,
                          drop_colour=0)


@pytest.mark.slow
def test_two_frames_are_learnt_by_heart(tmp_path: Path) -> None:
    folder = tmp_path / 'rooms'
    generate_frames(folder, count=2, seed=7, sensor='kinect_v1',
                    camera=NYU_CAMERA.resized(160, 128))
    data = DataConfig(source='dataset', path=str(folder), train_split='all', val_split='all',
                      in_memory=False)
    model = train(TrainConfig(
        model='diffpixelformer_t', output=str(tmp_path / 'run'), crop=(128, 160), batch=2,
        steps=200, drop_path=0, head_dropout=0, accelerator='cpu', workers=0, val_frames=2,
        validate_every=1000, save_every=1000, log_every=1, data=data, augment=AS_STORED,
        optimiser=OptimiserConfig(lr=1e-3, head_lr_factor=1, weight_decay=0, ema=0),
        loss=LossConfig(stride=2)))
    _, manifest = load_model(model)
    assert manifest.metrics['held_out']['pixel_accuracy'] > 0.95
    with (tmp_path / 'run' / 'metrics.csv').open(newline='') as file:
        losses = [float(row['loss']) for row in csv.DictReader(file) if row['loss']]
    assert losses[0] > 6  # three times ln 40 at a random start, less what the head's start gives
    assert losses[-1] < 0.1 * losses[0]
