# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""NYU Depth Dataset V2: the labelled frames in `nyu_depth_v2_labeled.mat` as image files.

What comes out: `rgb/`, `depth/` (in-painted), `depth_raw/` (as measured, with holes) and
`labels_40/` in `train/` and `test/`, frames named by their number in the file, from 0001; depth
as 16-bit millimetres, 0 = not measured; labels 0 = unlabelled, 1..40 = the classes of NYU40.

Source: the arrays' meaning: the data set's page, cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html;
names of folders and lists: TUI-NICR/ESANet src/datasets/nyuv2.
"""

import importlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from diffpixel_core.depth import depth_in_millimetres
from diffpixel_core.labels import load_label_space
from diffpixel_core.prepare.writing import GrowingFolder, PrepareError

logger = logging.getLogger(__name__)

_VERSION = 1
_SPLITS = ('train', 'test')
_ARRAYS = {'images': 4, 'depths': 3, 'rawDepths': 3, 'labels': 3}  # number of dimensions
_CHUNKS = 64 << 20  # bytes of decompressed chunks to keep: neighbouring frames share them


@dataclass(frozen=True, slots=True)
class Prepared:
    """What has been prepared.

    Attributes:
        folder: Where it is.
        train: Number of training frames.
        test: Number of test frames.
        was_there: Whether nothing had to be done.
    """

    folder: Path
    train: int
    test: int
    was_there: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What the .mat file does not say itself.

    Attributes:
        frames: How many frames the official file has.
        to_40: `(895,)` uint8: the NYU40 id of each of the 894 classes; 0 = unlabelled.
        anchors: The 37 classes that are one of the 894 under the same name: name -> id there.
        test: Numbers of the test frames, from 1; all others are for training.
    """

    frames: int
    to_40: npt.NDArray[np.uint8]
    anchors: dict[str, int]
    test: frozenset[int]


@cache
def nyudv2_facts() -> Facts:
    """Return the official split and the classes behind NYU40.

    Source: named in `nyudv2.json`.
    """
    text = resources.files('diffpixel_core').joinpath('prepare', 'nyudv2.json').read_text()
    rows = json.loads(text)
    space = load_label_space('nyu40')
    to_40 = np.full(rows['classes'] + 1, space.index(rows['all_other_ids']) + 1, np.uint8)
    to_40[0] = 0
    for name, ids in rows['class_ids'].items():
        to_40[ids] = space.index(name) + 1
    return Facts(rows['frames'], to_40,
                 {name: ids[0] for name, ids in rows['class_ids'].items() if len(ids) == 1},
                 frozenset(i for first, last in rows['test_frames']
                           for i in range(first, last + 1)))


def prepare_nyudv2(source: Path, output: Path) -> Prepared:
    """Write the frames of the official file as images; an interrupted run is completed.

    Args:
        source: `nyu_depth_v2_labeled.mat`.
        output: The folder to be; until it is whole it is called `output.partial`.

    Raises:
        PrepareError: If the file is damaged or another one, `output` holds something else, or
            there is no room for it.
    """
    facts = nyudv2_facts()
    with _opened(source) as arrays:
        count = _checked_count(source, arrays)
        splits = {number: 'test' if number in facts.test else 'train'
                  for number in range(1, count + 1)}
        train, test = (sum(split == name for split in splits.values()) for name in _SPLITS)
        folder = GrowingFolder(output, {
            'dataset': 'nyudv2', 'version': _VERSION, 'source': source.name,
            'bytes': source.stat().st_size, 'train': train, 'test': test})
        if folder.complete:
            return Prepared(output, train, test, was_there=True)
        _check_names(source, arrays)
        for number, split in track(splits.items(), 'preparing', total=count,
                                   console=Console(stderr=True)):
            _write_frame(folder, source, arrays, number, split)
    for name in _SPLITS:
        numbers = [number for number, split in splits.items() if split == name]
        if numbers:
            folder.write_text(f'{name}.txt', ''.join(f'{number:04d}\n' for number in numbers))
    folder.finish()
    return Prepared(output, train, test, was_there=False)


def _write_frame(folder: GrowingFolder, source: Path, arrays: dict[str, Any], number: int,
                 split: str) -> None:
    names = [f'{split}/{kind}/{number:04d}.png'
             for kind in ('rgb', 'depth', 'depth_raw', 'labels_40')]
    if all(folder.has(name) for name in names):
        return
    try:  # MATLAB counts columns first: as h5py shows it, an image is (channels,) width, height
        rgb, depth_m, raw_m, ids = (np.asarray(arrays[key][number - 1]).swapaxes(-1, -2)
                                    for key in _ARRAYS)
    except OSError as error:
        raise PrepareError(f'{source} is damaged at frame {number} ({error}); download it '
                           'again') from error
    to_40 = nyudv2_facts().to_40
    if ids.max(initial=0) >= len(to_40):
        raise PrepareError(f'frame {number} of {source} holds label {ids.max()}, but NYUDv2 has '
                           f'{len(to_40) - 1} classes; this is another file')
    images = (rgb.transpose(1, 2, 0), depth_in_millimetres(depth_m), depth_in_millimetres(raw_m),
              to_40[ids])
    for name, image in zip(names, images, strict=True):
        folder.write_png(name, image)


@contextmanager
def _opened(source: Path) -> Iterator[dict[str, Any]]:
    """Yield the arrays of the file, unread, and its `names` if it has them."""
    try:
        h5py = importlib.import_module('h5py')
    except ImportError as error:
        raise PrepareError(f'{source} is a MATLAB file, which needs h5py and SciPy; pip install '
                           "'diffpixel_ros[data]'") from error
    try:
        size = source.stat().st_size
        with source.open('rb') as bytes_:
            start = bytes_.read(1024)
    except OSError as error:
        raise PrepareError(f'cannot read {source} ({error.strerror}); give the path of '
                           'nyu_depth_v2_labeled.mat') from error
    if not h5py.is_hdf5(source):
        kind = 'a web page' if b'<html' in start.lower() else 'no MATLAB 7.3 file'
        raise PrepareError(f'{source} ({size} bytes) is {kind}; give nyu_depth_v2_labeled.mat '
                           'as downloaded, about 2.8 GB')
    try:
        file = h5py.File(source, 'r', rdcc_nbytes=_CHUNKS)
    except OSError as error:
        raise PrepareError(f'{source} ({size} bytes) is cut short or damaged ({error}); download '
                           'it again') from error
    with file:
        lacking = [key for key in _ARRAYS if not isinstance(file.get(key), h5py.Dataset)]
        if lacking:
            raise PrepareError(f'{source} has no {", ".join(lacking)}; give '
                               'nyu_depth_v2_labeled.mat, not another of the data set\'s files')
        arrays = {key: file[key] for key in _ARRAYS}
        if isinstance(file.get('names'), h5py.Dataset):
            arrays['names'] = [''.join(map(chr, np.asarray(file[reference]).ravel()))
                               for reference in np.asarray(file['names']).ravel()
                               if isinstance(reference, h5py.Reference)]
        yield arrays


def _checked_count(source: Path, arrays: dict[str, Any]) -> int:
    """Return the number of frames; an error if the arrays cannot be NYUDv2's."""
    shapes = {key: tuple(arrays[key].shape) for key in _ARRAYS}
    count, *size = shapes['depths']
    expected = {key: (count, 3, *size) if key == 'images' else (count, *size) for key in _ARRAYS}
    if len(size) != 2 or shapes != expected:
        told = ', '.join(f'{key} {"x".join(map(str, shape))}' for key, shape in shapes.items())
        raise PrepareError(f'{source} holds {told}; expected N frames of images Nx3xWxH and '
                           'NxWxH of the others: this is another file')
    types = {key: arrays[key].dtype.kind for key in _ARRAYS}
    if (arrays['images'].dtype != np.uint8 or types['labels'] not in 'iu'
            or types['depths'] != 'f' or types['rawDepths'] != 'f'):
        told = ', '.join(f'{key} {arrays[key].dtype}' for key in _ARRAYS)
        raise PrepareError(f'{source} holds {told}; expected 8-bit images, whole labels and float '
                           'depths: this is another file')
    frames = nyudv2_facts().frames
    if not 1 <= count <= frames:
        raise PrepareError(f'{source} holds {count} frames, NYUDv2 has {frames}; this is another '
                           'file')
    if count < frames:
        logger.warning('%s holds %d of NYUDv2\'s %d frames; those are prepared', source, count,
                       frames)
    return int(count)


def _check_names(source: Path, arrays: dict[str, Any]) -> None:
    """Refuse a file whose classes are in another order than the official one's."""
    facts = nyudv2_facts()
    names = arrays.get('names', [])
    if len(names) != len(facts.to_40) - 1:
        logger.warning('%s names %d classes, not %d; labels are taken by their numbers', source,
                       len(names), len(facts.to_40) - 1)
        return
    wrong = [name for name, i in facts.anchors.items() if names[i - 1] != name]
    if len(wrong) > len(facts.anchors) // 2:
        i = facts.anchors[wrong[0]]
        raise PrepareError(f'{source} has its classes in another order: class {i} is '
                           f'{names[i - 1]!r}, not {wrong[0]!r}; this is another file')
