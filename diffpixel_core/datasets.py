# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled RGB-D frames for training and evaluation, decoded once and mapped into memory.

A training batch is a pure function of (seed, step): a resumed run sees what it would have seen.
"""

import hashlib
import json
import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diffpixel_core.config import AugmentConfig, DataConfig, Sensor
from diffpixel_core.depth import depth_in_metres, depth_in_millimetres
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.geometry import NYU_CAMERA, Camera
from diffpixel_core.image_folder import (
    RgbdFile,
    find_frames,
    load_pair,
    read_camera,
    read_label,
)
from diffpixel_core.labels import UNLABELLED, load_label_space, mapping
from diffpixel_core.synthetic.noise import sense
from diffpixel_core.transforms import Sample, augment

logger = logging.getLogger(__name__)

Split = Literal['train', 'val']
_CACHE_VERSION = 1
_ARRAYS = ('colour', 'depth_mm', 'label')


class DataError(DiffPixelError):
    """Frames that cannot be trained on or scored: no labels, impossible labels, mixed sizes."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFrame:
    """One frame as stored.

    Attributes:
        name: The colour image's path, for messages.
        rgb: `(H, W, 3)` uint8.
        depth_m: `(H, W)` float32 metres, 0 = not measured.
        labels: `(H, W)` uint8 in the label space of the data, 255 = unlabelled.
        cosine: `(H, W)` float32 incidence cosine where the depth is exact (a rendered frame), to
            which sensor noise can be added; None where a sensor measured it.
    """

    name: str
    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    cosine: npt.NDArray[np.float32] | None


class Frames(Protocol):
    """A sequence of labelled frames."""

    label_space: str

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def __getitem__(self, index: int) -> LabelledFrame:
        """Return a frame."""
        ...

    def camera(self, frame: LabelledFrame) -> Camera:
        """Return the camera of a frame."""
        ...


class FolderFrames:
    """The labelled frames of a folder, decoded from their files at every access.

    Args:
        folder: Colour, depth and label images, see `image_folder`; `X.cosine.png` beside them
            says that the depth is exact.
        depth_unit: One of `depth.DEPTH_UNITS`.
        label_space: Name of the label space the label images are written in.

    Raises:
        DataError: If a frame has no label image.
        ImageFolderError: If there are no frames.
    """

    def __init__(self, folder: Path, *, depth_unit: str, label_space: str) -> None:
        self.folder = folder
        self.depth_unit = depth_unit
        self.label_space = label_space
        self.files = find_frames(folder)
        bare = [file.name for file in self.files if file.label is None]
        if bare:
            raise DataError(f'{len(bare)} of {len(self.files)} frames in {folder} have no label '
                            f'image, the first is {bare[0]!r}; training and evaluation need labels')

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.files)

    def __getitem__(self, index: int) -> LabelledFrame:
        """Return a frame.

        Raises:
            DataError: If its images differ in size or a label is no class.
            ImageFolderError: If an image is damaged.
        """
        file = self.files[index]
        rgb, depth_m = load_pair(file, self.depth_unit)
        assert file.label is not None
        labels = read_label(file.label)
        cosine_file = cosine_path(file)
        cosine = None
        if cosine_file.is_file():
            cosine = read_label(cosine_file) * np.float32(1 / 255)
        for path, image in ((file.label, labels), (cosine_file, cosine)):
            if image is not None and image.shape != depth_m.shape:
                raise DataError(f'{path} is {image.shape[1]}x{image.shape[0]} but its colour image '
                                f'{depth_m.shape[1]}x{depth_m.shape[0]}; labels are never resized, '
                                'write them at the size of the frame')
        classes = len(load_label_space(self.label_space))
        wrong = labels[(labels >= classes) & (labels != UNLABELLED)]
        if wrong.size:
            raise DataError(f'{file.label} holds label {wrong.max()} but {self.label_space} has '
                            f'classes 0..{classes - 1} (255 = unlabelled); set data.labels to the '
                            'label space it was written in, or subtract its offset')
        return LabelledFrame(str(file.colour), rgb, depth_m, labels, cosine)

    def camera(self, frame: LabelledFrame) -> Camera:
        """Return the camera in the folder's camera file, else NYU's at the size of the frame."""
        return _camera(self.folder, *frame.labels.shape)


class MappedFrames:
    """The same frames out of memory-mapped arrays: no decoding, shared between processes.

    The arrays lie in `<folder>.cache`, 16-bit millimetres for depth, and are made anew when a file
    of the folder changes.

    Args:
        frames: The frames to map; all of one size.

    Raises:
        DataError: If the frames differ in size.
    """

    def __init__(self, frames: FolderFrames) -> None:
        self.label_space = frames.label_space
        self.names = [str(file.colour) for file in frames.files]
        has_cosine = cosine_path(frames.files[0]).is_file()
        self._arrays = _open_cache(frames, (*_ARRAYS, 'cosine') if has_cosine else _ARRAYS)
        height, width = self._arrays['label'].shape[1:]
        self._camera = _camera(frames.folder, height, width)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.names)

    def __getitem__(self, index: int) -> LabelledFrame:
        """Return a frame; its images are copies."""
        cosine = None
        if 'cosine' in self._arrays:
            cosine = self._arrays['cosine'][index] * np.float32(1 / 255)
        return LabelledFrame(self.names[index], np.array(self._arrays['colour'][index]),
                             depth_in_metres(np.array(self._arrays['depth_mm'][index]), 'mm'),
                             np.array(self._arrays['label'][index]), cosine)

    def camera(self, frame: LabelledFrame) -> Camera:
        """Return the camera, which all frames share."""
        del frame
        return self._camera


def cosine_path(file: RgbdFile) -> Path:
    """Return where the incidence cosine of a rendered frame lies: 8 bit, 255 = 1."""
    return file.colour.with_name(f'{file.name}.cosine.png')


@lru_cache(maxsize=64)
def _camera(folder: Path, height: int, width: int) -> Camera:
    camera = read_camera(folder, width=width, height=height)
    return NYU_CAMERA.resized(width, height) if camera is None else camera


def _open_cache(frames: FolderFrames, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    folder = frames.folder.resolve()
    cache = folder.with_name(folder.name + '.cache')
    index = cache / 'index.json'
    fingerprint = _fingerprint(frames)
    if not index.is_file() or json.loads(index.read_text()) != {'fingerprint': fingerprint}:
        _fill_cache(frames, cache, names)
        with tempfile.NamedTemporaryFile('w', dir=cache, delete=False) as file:
            json.dump({'fingerprint': fingerprint}, file)
        os.replace(file.name, index)  # last: the arrays count only once it is there
    return {name: np.load(cache / f'{name}.npy', mmap_mode='r') for name in names}


def _fingerprint(frames: FolderFrames) -> str:
    """Return a hash of everything the arrays depend on; touches no file content."""
    digest = hashlib.sha256(f'{_CACHE_VERSION} {frames.depth_unit} {frames.label_space}'.encode())
    for file in frames.files:
        for path in (file.colour, file.depth, file.label, cosine_path(file)):
            if path is not None and path.exists():
                status = path.stat()
                digest.update(f'{path.name} {status.st_size} {status.st_mtime_ns}\n'.encode())
    return digest.hexdigest()


def _fill_cache(frames: FolderFrames, cache: Path, names: tuple[str, ...]) -> None:
    logger.info('decoding %d frames of %s into %s', len(frames), frames.folder, cache)
    cache.mkdir(parents=True, exist_ok=True)
    (cache / 'index.json').unlink(missing_ok=True)
    size = frames[0].labels.shape
    shapes = {'colour': (*size, 3), 'depth_mm': size, 'label': size, 'cosine': size}
    arrays = {name: np.lib.format.open_memmap(
        cache / f'{name}.npy', mode='w+', shape=(len(frames), *shapes[name]),
        dtype=np.uint16 if name == 'depth_mm' else np.uint8) for name in names}

    def decode(i: int) -> None:
        frame = frames[i]
        if frame.labels.shape != size or (frame.cosine is None) != ('cosine' not in names):
            raise DataError(f'{frame.name} is {frame.labels.shape[1]}x{frame.labels.shape[0]}, the '
                            f'first frame {size[1]}x{size[0]} (or only one has a cosine image); '
                            'set data.in_memory to false')
        arrays['colour'][i] = frame.rgb
        arrays['depth_mm'][i] = depth_in_millimetres(frame.depth_m)
        arrays['label'][i] = frame.labels
        if frame.cosine is not None:
            arrays['cosine'][i] = np.rint(frame.cosine * 255)

    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(decode, range(len(frames))):
            pass
    for array in arrays.values():
        array.flush()


def open_frames(config: DataConfig, split: Split) -> Frames:
    """Return the frames of a split; generated rooms are rendered on first use.

    Raises:
        DiffPixelError: If files are missing, damaged or do not fit together; it names them.
    """
    if config.source == 'generated':
        folder = _rendered(config, split)
        frames = FolderFrames(folder, depth_unit='mm', label_space='nyu40')
    else:
        folder = Path(config.train_folder if split == 'train' else config.val_folder)
        frames = FolderFrames(folder, depth_unit=config.depth_unit, label_space=config.labels)
    return MappedFrames(frames) if config.in_memory else frames


def _rendered(config: DataConfig, split: Split) -> Path:
    """Return the folder of a generated split; exact depth, so that noise can differ per epoch."""
    seed, count = ((config.train_seed, config.train_count) if split == 'train'
                   else (config.val_seed, config.val_count))
    height, width = config.size
    folder = Path(config.cache) / f'{split}_seed{seed}_count{count}_{width}x{height}'
    from diffpixel_core.synthetic.generate import FORMAT_VERSION, generate_frames

    done = folder / 'synth.json'  # written last
    if done.is_file():
        version = json.loads(done.read_text()).get('version')
        if version != FORMAT_VERSION:
            raise DataError(f'{folder} was rendered by version {version} of the generator, this is '
                            f'{FORMAT_VERSION}; remove the folder, or name another data.cache')
    else:
        logger.info('rendering %d rooms into %s, once', count, folder)
        generate_frames(folder, count=count, seed=seed, sensor='perfect',
                        camera=NYU_CAMERA.resized(width, height), workers=config.render_workers)
    return folder


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

    def __init__(self, frames: Frames, *, label_space: str, augmentation: AugmentConfig,
                 crop: tuple[int, int], batch: int, seed: int) -> None:
        self.frames = frames
        self.batch = batch
        self.seed = seed
        self._augmentation = augmentation
        self._crop = crop
        self._table = _label_table(frames.label_space, label_space)

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


def _label_table(source: str, target: str) -> npt.NDArray[np.uint8]:
    if source == target:
        return np.arange(256, dtype=np.uint8)
    return mapping(load_label_space(source), load_label_space(target))


def _as_measured(frames: Frames, index: int, sensor: Sensor, table: npt.NDArray[np.uint8],
                 rng: np.random.Generator, *, border: float) -> Sample:
    """Return a frame with the depth of `sensor` if its own is exact, and translated labels."""
    frame = frames[index]
    depth_m = frame.depth_m
    if frame.cosine is not None:
        depth_m = sense(depth_m, cosine=frame.cosine, labels=frame.labels, sensor=sensor, rng=rng,
                        camera=frames.camera(frame), border=border)
    return Sample(frame.name, frame.rgb, depth_m, table[frame.labels])


def held_out_samples(frames: Frames, *, label_space: str, sensor: Sensor, count: int | None = None,
                     seed: int = 0) -> Iterator[Sample]:
    """Yield frames for scoring: no augmentation, the same sensor noise every time.

    Args:
        frames: The held-out frames.
        label_space: Label space to score in; labels are translated to it.
        sensor: Noise on exact depth.
        count: Only so many, evenly spread over all; none = all.
        seed: Of the noise.
    """
    table = _label_table(frames.label_space, label_space)
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
