# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Generated rooms as a data set: rendered on first use, with exact depth."""

import json
import logging
from pathlib import Path

from diffpixel_core.datasets.description import Description
from diffpixel_core.datasets.frames import DataError
from diffpixel_core.datasets.layouts import describe
from diffpixel_core.geometry import NYU_CAMERA

logger = logging.getLogger(__name__)


def rendered_rooms(cache: Path, *, split: str, seed: int, count: int, size: tuple[int, int],
                   workers: int) -> Description:
    """Return generated frames as a data set of one split, 'all'.

    Their depth is exact, so that sensor noise can differ in every epoch.

    Args:
        cache: Folder that holds the folders of rendered rooms.
        split: 'train' or 'val', part of the folder's name.
        seed: Of the rooms.
        count: Number of frames.
        size: `(height, width)` of the frames, pixels.
        workers: Processes that render.

    Raises:
        DataError: If the folder was rendered by another version of the generator.
    """
    height, width = size
    folder = cache / f'{split}_seed{seed}_count{count}_{width}x{height}'
    from diffpixel_core.synthetic.generate import FORMAT_VERSION, generate_frames

    done = folder / 'synth.json'  # written last
    if done.is_file():
        version = json.loads(done.read_text()).get('version')
        if version != FORMAT_VERSION:
            raise DataError(f'{folder} was rendered by version {version} of the generator, this is '
                            f'{FORMAT_VERSION}; remove the folder, or name another data.cache')
    else:
        logger.info('rendering %d frames into %s, once', count, folder)
        generate_frames(folder, count=count, seed=seed, sensor='perfect',
                        camera=NYU_CAMERA.resized(width, height), workers=workers)
    return describe(folder)
