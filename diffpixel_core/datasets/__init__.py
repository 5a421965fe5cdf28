# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled RGB-D frames: public data sets in their layouts, own folders, generated rooms."""

from diffpixel_core.datasets.batches import (
    Batch,
    TrainBatches,
    as_batch,
    held_out_samples,
    train_loader,
)
from diffpixel_core.datasets.description import Description, FrameFiles, RawIds
from diffpixel_core.datasets.files import FileFrames
from diffpixel_core.datasets.frames import DataError, Frames, LabelledFrame
from diffpixel_core.datasets.layouts import describe
from diffpixel_core.datasets.mapped import MappedFrames
from diffpixel_core.datasets.opening import open_frames

__all__ = [
    'Batch', 'DataError', 'Description', 'FileFrames', 'FrameFiles', 'Frames', 'LabelledFrame',
    'MappedFrames', 'RawIds', 'TrainBatches', 'as_batch', 'describe', 'held_out_samples',
    'open_frames', 'train_loader',
]
