# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Frames as batches for training and as samples for scoring.

A training batch is a pure function of (seed, step): a resumed run sees what it would have seen.
"""

import signal
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diffpixel_core.config import AugmentConfig, Sensor
from diffpixel_core.datasets.frames import Frames
from diffpixel_core.labels import LabelSpace, mapping
from diffpixel_core.synthetic.noise import sense
from diffpixel_core.transforms import Sample, augment


class Batch(NamedTuple):
    """Training frames as tensors.

    Attributes:
        rgb: `(B, H, W, 3)` uint8.
        depth_m: `(B, H, W)` float32 metres, 0 = not measured.
        labels: `(B, H, W)` uint8, 255 = unlabelled.
        names: The files.
    """

    rgb: Tensor
    depth_m: Tensor
    labels: Tensor
    names: list[str]


def as_batch(samples: list[Sample]) -> Batch:
    """Return samples of one size as tensors."""
    return Batch(torch.from_numpy(np.stack([sample.rgb for sample in samples])),
                 torch.from_numpy(np.stack([sample.depth_m for sample in samples])),
                 torch.from_numpy(np.stack([sample.labels for sample in samples])),
                 [sample.name for sample in samples])


class TrainBatches(Dataset[Batch]):
    """Augmented batches by step number, each a pure function of (seed, step).

    Every epoch goes through all frames once, in another order.

    Args:
        frames: The training frames.
        label_space: Label space the network predicts; labels are translated to it.
        augmentation: How frames are varied.
        crop: `(height, width)` of the batch, pixels.
        batch: Frames per step.
        seed: Of order and augmentation.
    """

    def __init__(self, frames: Frames, *, label_space: LabelSpace, augmentation: AugmentConfig,
                 crop: tuple[int, int], batch: int, seed: int) -> None:
        self.frames = frames
        self.batch = batch
        self.seed = seed
        self._augmentation = augmentation
        self._crop = crop
        self._table = mapping(frames.label_space, label_space)

    def __getitem__(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""
        return as_batch([self._sample(step, slot) for slot in range(self.batch)])

    def _sample(self, step: int, slot: int) -> Sample:
        epoch, place = divmod(step * self.batch + slot, len(self.frames))
        index = _order(self.seed, epoch, len(self.frames))[place]
        rng = np.random.default_rng((self.seed, step, slot))
        sensor = self._augmentation.sensors[int(rng.integers(len(self._augmentation.sensors)))]
        sample = _as_measured(self.frames, int(index), sensor, self._table, rng,
                              border=rng.random())
        return augment(sample, self._augmentation, crop=self._crop, rng=rng)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(count)


def _as_measured(frames: Frames, index: int, sensor: Sensor, table: npt.NDArray[np.uint8],
                 rng: np.random.Generator, *, border: float) -> Sample:
    """Return a frame with the depth of `sensor` if its own is exact, and translated labels."""
    frame = frames[index]
    depth_m = frame.depth_m
    if frame.cosine is not None:
        depth_m = sense(depth_m, cosine=frame.cosine, labels=frame.labels, sensor=sensor, rng=rng,
                        camera=frames.camera(frame), border=border)
    return Sample(frame.name, frame.rgb, depth_m, table[frame.labels])


def held_out_samples(frames: Frames, *, label_space: LabelSpace, sensor: Sensor,
                     count: int | None = None, seed: int = 0) -> Iterator[Sample]:
    """Yield frames for scoring: no augmentation, the same sensor noise every time.

    Args:
        frames: The held-out frames.
        label_space: Label space to score in; labels are translated to it.
        sensor: Noise on exact depth.
        count: Only so many, evenly spread over all; none = all.
        seed: Of the noise.
    """
    table = mapping(frames.label_space, label_space)
    count = len(frames) if count is None else min(count, len(frames))
    for index in np.linspace(0, len(frames) - 1, count).round().astype(int):
        rng = np.random.default_rng((seed, int(index)))
        yield _as_measured(frames, int(index), sensor, table, rng, border=0.5)


def train_loader(batches: TrainBatches, steps: range, *, workers: int) -> DataLoader[Batch]:
    """Return a loader of the batches of `steps`, prepared ahead by other processes."""
    return DataLoader(batches, batch_size=None, sampler=steps, num_workers=workers,
                      prefetch_factor=4 if workers else None, worker_init_fn=_start_worker,
                      generator=torch.Generator())  # its own: must not disturb dropout's


def _start_worker(worker: int) -> None:
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trainer's to answer
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
