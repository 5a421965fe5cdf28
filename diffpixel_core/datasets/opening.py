# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""From settings to frames: the split a recipe means, mapped into memory if it says so."""

import hashlib
from pathlib import Path
from typing import Literal

from diffpixel_core.config import DataConfig
from diffpixel_core.datasets.description import Description
from diffpixel_core.datasets.files import FileFrames
from diffpixel_core.datasets.frames import DataError, Frames
from diffpixel_core.datasets.layouts import describe
from diffpixel_core.datasets.mapped import MappedFrames
from diffpixel_core.datasets.rooms import rendered_rooms

Role = Literal['train', 'val']


def open_frames(config: DataConfig, role: Role) -> Frames:
    """Return the frames to train on or to score on; generated rooms are rendered on first use.

    Raises:
        DiffPixelError: If files are missing, damaged or do not fit together; it names them.
    """
    if config.source == 'generated':
        seed, count = ((config.train_seed, config.train_count) if role == 'train'
                       else (config.val_seed, config.val_count))
        description = rendered_rooms(Path(config.cache), split=role, seed=seed, count=count,
                                     size=config.size, workers=config.render_workers)
        split = 'all'
    else:
        description = describe(Path(config.path if role == 'train' or not config.val_path
                                    else config.val_path).expanduser(),
                               depth_unit=config.depth_unit, label_space=config.labels,
                               raw_depth=config.raw_depth)
        split = _split(config, description, role)
    frames = FileFrames(description, split)
    if not config.in_memory:
        return frames
    root = description.root.resolve()
    if config.source == 'generated':
        return MappedFrames(frames, root.with_name(root.name + '.cache'))
    place = hashlib.sha256(str(root).encode()).hexdigest()[:8]  # others have a folder of this name
    return MappedFrames(frames, Path(config.cache) / f'{root.name}_{split}_{place}.cache')


def _split(config: DataConfig, description: Description, role: Role) -> str:
    wanted = config.train_split if role == 'train' else config.val_split
    if wanted != 'auto':
        return wanted
    names = ('train',) if role == 'train' else ('val', 'test')
    if role == 'val' or config.val_path:
        names = (*names, 'all')  # a folder without splits; never to train and score on alike
    found = [name for name in names if name in description.splits]
    if not found:
        raise DataError(f'{description.root} has the splits {", ".join(description.splits)}; '
                        f'name the one for {role} in data.{role}_split, or give held-out frames '
                        'as data.val_path')
    return found[0]
