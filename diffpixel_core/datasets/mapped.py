# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The same frames out of memory-mapped arrays: no decoding, shared between processes."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from diffpixel_core.datasets.files import FileFrames, Stored, as_frame
from diffpixel_core.datasets.frames import DataError, LabelledFrame
from diffpixel_core.geometry import Camera

logger = logging.getLogger(__name__)

_VERSION = 2
_INDEX = 'index.json'


class MappedFrames:
    """Frames decoded once into flat arrays, of any sizes.

    The arrays are made anew when a file of the data set changes, and count only once they are
    whole.

    Args:
        frames: The frames to map.
        cache: Folder for the arrays, made if need be.

    Attributes:
        label_space: What the labels mean.
        names: The colour image's path of every frame.
        cameras: The camera each frame was taken with.

    Raises:
        DataError: If a frame is damaged; the message names it.
    """

    def __init__(self, frames: FileFrames, cache: Path) -> None:
        self.label_space = frames.label_space
        self.names: Sequence[str] = frames.names
        self.cameras: Sequence[str] = frames.cameras
        self._frames = frames
        self._unit = frames.description.depth_unit
        index = _read_index(cache)
        fingerprint = _fingerprint(frames)
        if index is None or index['fingerprint'] != fingerprint:
            _fill(frames, cache, fingerprint)
            index = _read_index(cache)
            assert index is not None
        self._sizes: list[tuple[int, int]] = [(h, w) for h, w in index['sizes']]
        self._starts = np.cumsum([0] + [h * w for h, w in self._sizes])
        self._arrays: dict[str, npt.NDArray[Any]] = {
            name: np.memmap(cache / f'{name}.raw', dtype=dtype, mode='r')
            for name, dtype in index['arrays'].items()}

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.names)

    def __getitem__(self, index: int) -> LabelledFrame:
        """Return a frame; its images are copies."""
        height, width = self._sizes[index]
        pixels = slice(int(self._starts[index]), int(self._starts[index + 1]))

        def image(name: str) -> npt.NDArray[Any]:
            return np.array(self._arrays[name][pixels]).reshape(height, width)

        colours = slice(3 * pixels.start, 3 * pixels.stop)
        rgb = np.array(self._arrays['colour'][colours]).reshape(height, width, 3)
        cosine = image('cosine') if 'cosine' in self._arrays else None
        return as_frame(self.names[index], Stored(rgb, image('depth'), image('label'), cosine),
                        self._unit)

    def camera(self, frame: LabelledFrame) -> Camera:
        """Return the camera of the data set or its folder, else NYU's at the frame's size."""
        return self._frames.camera(frame)


def _read_index(cache: Path) -> dict[str, Any] | None:
    try:
        index = json.loads((cache / _INDEX).read_text())
    except (OSError, json.JSONDecodeError):
        return None
    return index if isinstance(index, dict) and index.get('version') == _VERSION else None


def _fingerprint(frames: FileFrames) -> str:
    """Return a hash of everything the arrays depend on; touches no file content."""
    description = frames.description
    digest = hashlib.sha256(f'{description.depth_unit} {description.raw_ids} '
                            f'{description.label_colours}'.encode())
    for file in frames.files:
        for path in (file.colour, file.depth, file.label, file.cosine):
            if path is not None and path.exists():
                status = path.stat()
                place = os.path.relpath(path, description.root)  # however the root was spelled
                digest.update(f'{place} {status.st_size} {status.st_mtime_ns}\n'.encode())
    return digest.hexdigest()


def _fill(frames: FileFrames, cache: Path, fingerprint: str) -> None:
    logger.info('decoding %d frames of %s into %s, once', len(frames), frames.description.root,
                cache)
    exact = frames.files[0].cosine is not None
    mixed = [file.name for file in frames.files if (file.cosine is not None) != exact]
    if mixed:
        raise DataError(f'{frames.description.root}: only some frames have a cosine image, unlike '
                        f'{frames.files[0].name!r} {mixed[0]!r}; render them all or none')
    arrays = {'colour': 'uint8', 'label': 'uint8',
              'depth': 'float32' if frames.description.depth_unit == 'm' else 'uint16'}
    if exact:
        arrays['cosine'] = 'uint8'
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Elsewhere first: what another run has mapped stays what it was, a failure leaves nothing.
        with tempfile.TemporaryDirectory(prefix='filling_', dir=cache) as made:
            index = {'version': _VERSION, 'fingerprint': fingerprint, 'arrays': arrays,
                     'sizes': _write_arrays(frames, Path(made), arrays)}
            (Path(made) / _INDEX).write_text(json.dumps(index))
            (cache / _INDEX).unlink(missing_ok=True)
            for name in (*(f'{array}.raw' for array in arrays), _INDEX):
                os.replace(Path(made) / name, cache / name)  # last the index: now they count
    except OSError as error:
        raise DataError(f'cannot write {cache} ({error.strerror}); free some space, name another '
                        'data.cache, or set data.in_memory to false') from error


def _write_arrays(frames: FileFrames, folder: Path,
                  arrays: Mapping[str, str]) -> list[tuple[int, int]]:
    """Write every frame's images, one after the other, and return the frames' sizes."""
    sizes = []
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f'{name}.raw').open('wb')) for name in arrays}
        pool = stack.enter_context(ThreadPoolExecutor(2))
        stored = pool.map(frames.stored, range(len(frames)))
        for frame in track(stored, 'decoding', total=len(frames), console=Console(stderr=True)):
            images = {'colour': frame.rgb, 'depth': frame.depth, 'label': frame.labels,
                      'cosine': frame.cosine}
            for name, file in files.items():
                file.write(np.ascontiguousarray(images[name], arrays[name]).data)
            sizes.append((frame.labels.shape[0], frame.labels.shape[1]))
    return sizes
