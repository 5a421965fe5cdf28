# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Frames as batches for training and as samples for scoring.

Every sample of a run has a number, its slot, and is a pure function of (seed, slot): a resumed run
sees what it would have seen, and several devices see together what one would.
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

_ORDER, _SAMPLE = 0, 1  # the two uses of a seed: independent streams of random numbers


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
    """Augmented batches by number, each a pure function of its seed and its slots.

    Step s of a run is the slots s * batch to (s + 1) * batch; its parts are dealt to the devices
    in turn, so that they see in each step what one device would. Every epoch goes through all
    frames once, in another order; a step may end one and begin the next.

    Args:
        frames: The training frames.
        label_space: Label space the network predicts; labels are translated to it.
        augmentation: How frames are varied.
        crop: `(height, width)` of the batch, pixels.
        batch: Frames per step, over all devices.
        seed: Of order and augmentation.
        parts: Batches in which a device takes its share of a step.
        rank: Number of this device.
        world: Number of devices.
    """

    def __init__(self, frames: Frames, *, label_space: LabelSpace, augmentation: AugmentConfig,
                 crop: tuple[int, int], batch: int, seed: int, parts: int = 1, rank: int = 0,
                 world: int = 1) -> None:
        assert batch % (parts * world) == 0
        self.frames = frames
        self.batch = batch
        self.seed = seed
        self._parts, self._rank, self._world = parts, rank, world
        self._augmentation = augmentation
        self._crop = crop
        self._table = mapping(frames.label_space, label_space)

    def __getitem__(self, index: int) -> Batch:
        """Return this device's batch number `index`: part `index % parts` of a step."""
        each = self.batch // (self._parts * self._world)
        first = (index * self._world + self._rank) * each
        return as_batch([self._sample(slot) for slot in range(first, first + each)])

    def _sample(self, slot: int) -> Sample:
        epoch, place = divmod(slot, len(self.frames))
        index = _order(self.seed, epoch, len(self.frames))[place]
        rng = np.random.default_rng((self.seed, _SAMPLE, slot))
        sensor = self._augmentation.sensors[int(rng.integers(len(self._augmentation.sensors)))]
        sample = _as_measured(self.frames, int(index), sensor, self._table, rng,
                              border=rng.random())
        return augment(sample, self._augmentation, crop=self._crop, rng=rng)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((seed, _ORDER, epoch)).permutation(count)


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
                     count: int | None = None, seed: int = 0, rank: int = 0,
                     world: int = 1) -> Iterator[Sample]:
    """Yield frames for scoring: no augmentation, the same sensor noise every time.

    Args:
        frames: The held-out frames.
        label_space: Label space to score in; labels are translated to it.
        sensor: Noise on exact depth.
        count: Only so many, evenly spread over all; none = all.
        seed: Of the noise.
        rank: Number of this process.
        world: Number of processes that share the frames: each gets every `world`-th, none twice.
    """
    table = mapping(frames.label_space, label_space)
    count = len(frames) if count is None else min(count, len(frames))
    for index in np.linspace(0, len(frames) - 1, count).round().astype(int)[rank::world]:
        rng = np.random.default_rng((seed, int(index)))
        yield _as_measured(frames, int(index), sensor, table, rng, border=0.5)


def train_loader(batches: TrainBatches, numbers: range, *, workers: int,
                 pinned: bool = False) -> DataLoader[Batch]:
    """Return a loader of the batches of these numbers, prepared ahead by other processes.

    Args:
        batches: All batches of the run.
        numbers: Those to load, in order.
        workers: Processes; 0 = this one.
        pinned: Into memory from which a GPU copies by itself.
    """
    return DataLoader(batches, batch_size=None, sampler=numbers, num_workers=workers,
                      prefetch_factor=4 if workers else None, worker_init_fn=_start_worker,
                      pin_memory=pinned,
                      generator=torch.Generator())  # its own: must not disturb dropout's


def _start_worker(worker: int) -> None:
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trainer's to answer
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
