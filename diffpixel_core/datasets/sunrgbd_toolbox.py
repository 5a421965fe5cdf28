# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The MATLAB files of the SUN RGB-D toolbox: splits, the order of scenes, and labels as PNG files.

Source: SUNRGBDtoolbox (README: `seglabel` numbers the names in `seg37list`, 0 = none), and how
h5py shows a MATLAB 7.3 struct array: a field is an array of references, images are transposed.
"""

import errno
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from diffpixel_core.datasets.frames import DataError
from diffpixel_core.whole_file import write_whole

logger = logging.getLogger(__name__)

ALLSPLIT = 'allsplit.mat'
SEGMENTATION = 'SUNRGBD2Dseg.mat'
META = 'SUNRGBDMeta.mat'
LABELS = 'SUNRGBD_labels37'  # folder of the extracted labels, beside the toolbox
_CAMERAS = ('kv1', 'kv2', 'realsense', 'xtion')
_WITHIN = ('', 'SUNRGBDtoolbox', 'SUNRGBDtoolbox/SUNRGBDtoolbox')
_PARTS = {ALLSPLIT: 'traintestSUNRGBD', SEGMENTATION: 'Metadata', META: 'Metadata'}


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What there is of the toolbox.

    Attributes:
        allsplit: The splits, None if the file is not there.
        segmentation: The labels of all scenes.
        meta: The order of the scenes in it.
        labels: Folder where the extracted labels are, or will be.
    """

    allsplit: Path | None
    segmentation: Path | None
    meta: Path | None
    labels: Path


def find_toolbox(root: Path) -> Toolbox:
    """Return the files of the toolbox in a root of SUN RGB-D or beside it."""
    bases = (root, root.parent)
    found: dict[str, Path | None] = {}
    home = root
    for name, part in _PARTS.items():
        places = [(base, base / within / inner / name) for base in bases for within in _WITHIN
                  for inner in ('', part)]
        base, path = next(((base, path) for base, path in places if path.is_file()), (root, None))
        found[name] = path
        if name == SEGMENTATION:
            home = base
    if found[SEGMENTATION] is None and (root.parent / LABELS).is_dir():
        home = root.parent
    return Toolbox(found[ALLSPLIT], found[SEGMENTATION], found[META], home / LABELS)


def scene_of(path: str) -> str:
    """Return the name of a scene out of any path into it: from the camera's folder on.

    Raises:
        DataError: If no part of it is a camera.
    """
    parts = [part for part in path.replace('\\', '/').split('/') if part]
    start = next((i for i, part in enumerate(parts) if part in _CAMERAS), None)
    if start is None:
        raise DataError(f'{path!r} is no path of SUN RGB-D: none of {", ".join(_CAMERAS)} in it')
    end = parts.index('image') if 'image' in parts else len(parts)
    return '/'.join(parts[start:end])


def read_splits(path: Path) -> dict[str, list[str]]:
    """Return the scenes of `allsplit.mat` for 'train' and 'test'.

    Raises:
        DataError: If it is damaged or another file.
    """
    rows = _matlab5(path, ('alltrain', 'alltest'))
    return {'train': _scenes(rows['alltrain']), 'test': _scenes(rows['alltest'])}


def extract_labels(toolbox: Toolbox, scenes: Mapping[str, Path]) -> dict[str, Path]:
    """Return the label image of every scene that has one, as PNG files.

    Those not yet there are written, whole or not at all: a run that was stopped is continued.

    Args:
        toolbox: Where the labels are.
        scenes: Folder by name of the scenes on disk; the labels of others are left alone.

    Raises:
        DataError: If the file of labels is damaged, does not fit to the scenes, or the images
            cannot be written.
    """
    wanted = {name: toolbox.labels / f'{name}.png' for name in scenes}
    missing = [name for name, path in wanted.items() if not path.is_file()]
    if missing and toolbox.segmentation is not None:
        _extract(toolbox.segmentation, _order(toolbox),
                 {name: (scenes[name], wanted[name]) for name in missing}, toolbox.labels)
    return {name: path for name, path in wanted.items() if path.is_file()}


def _extract(source: Path, order: list[str], missing: dict[str, tuple[Path, Path]],
             labels: Path) -> None:
    with _hdf5(source) as file:
        references = _references(file, source)
        if len(references) != len(order):
            raise DataError(f'{source} holds labels of {len(references)} scenes, but the scenes '
                            f'are {len(order)}; take all files from one toolbox')
        todo = [(i, name) for i, name in enumerate(order) if name in missing]
        if not todo:
            return
        logger.info('writing the labels of %d scenes out of %s into %s, once', len(todo), source,
                    labels)
        for i, name in track(todo, 'extracting labels', console=Console(stderr=True)):
            folder, path = missing[name]
            _write_png(path, _label(file, references[i], name, source, folder))


def _order(toolbox: Toolbox) -> list[str]:
    """Return the scenes in the order of the labels."""
    if toolbox.meta is not None:
        meta = _matlab5(toolbox.meta, ('SUNRGBDMeta',))['SUNRGBDMeta']
        try:
            return [scene_of(str(row.rgbpath)) for row in np.atleast_1d(meta)]
        except AttributeError as error:
            raise DataError(f'{toolbox.meta} has no rgbpath of its scenes; take it from the '
                            'toolbox again') from error
    if toolbox.allsplit is None:
        raise DataError(f'{toolbox.segmentation} does not say which scene is which: put '
                        f'{META} beside it')
    # The toolbox's own order is that of its test scenes, then of its training scenes.
    splits = read_splits(toolbox.allsplit)
    return splits['test'] + splits['train']


def _references(file: Any, source: Path) -> list[Any]:
    try:
        return list(np.asarray(file['SUNRGBD2Dseg']['seglabel']).ravel())
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(f'{source} has no SUNRGBD2Dseg/seglabel; it must be the file of that name '
                        'of the SUN RGB-D toolbox') from error


def _label(file: Any, reference: Any, name: str, source: Path,
           folder: Path) -> npt.NDArray[np.uint8]:
    try:
        stored = file[reference]
        label = np.asarray(stored).T
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(f'{source} is damaged where the labels of {name} are; copy it '
                        'again') from error
    if label.ndim != 2 or 'MATLAB_empty' in stored.attrs or label.size == 0:
        raise DataError(f'{source} has no label image of {name}')
    if label.min() < 0 or label.max() > 255 or (label.dtype.kind == 'f'
                                                 and (label % 1 != 0).any()):
        raise DataError(f'{source}: the labels of {name} are {label.min()} to {label.max()}; they '
                        'must be whole numbers of 8 bits')
    size = _size_of_depth(folder)
    if size is not None and label.shape != size:
        raise DataError(f'{source}: the labels of {name} are {label.shape[1]}x{label.shape[0]} but '
                        f'its depth is {size[1]}x{size[0]}: scenes and labels are not in one '
                        f'order; put {META} of the same toolbox beside it')
    return np.asarray(label, np.uint8)


def _size_of_depth(folder: Path) -> tuple[int, int] | None:
    """Return height and width out of the header of a scene's depth image, a PNG."""
    path = next((path for name in ('depth_bfx', 'depth') for path in (folder / name).glob('*.png')),
                None)
    if path is None:
        return None
    with path.open('rb') as file:
        header = file.read(24)
    if not header.startswith(b'\x89PNG') or len(header) < 24:
        return None
    return int.from_bytes(header[20:24], 'big'), int.from_bytes(header[16:20], 'big')


def _write_png(path: Path, label: npt.NDArray[np.uint8]) -> None:
    _, data = cv2.imencode('.png', label)
    try:
        write_whole(path, data.tobytes())
    except OSError as error:
        remedy = ('free some space' if error.errno == errno.ENOSPC else
                  'make that folder writable; or make one of your own with links to SUNRGBD and '
                  'SUNRGBDtoolbox in it, and give that')
        raise DataError(f'cannot write the label image {path} ({error.strerror}); '
                        f'{remedy}') from error


def _scenes(paths: npt.NDArray[Any]) -> list[str]:
    return [scene_of(str(path)) for path in np.atleast_1d(paths)]


def _matlab5(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Return variables of a MATLAB file of version 5 to 7."""
    try:
        from scipy.io import loadmat  # an extra; a quarter of a second
    except ImportError as error:
        raise DataError(f'{path} is a MATLAB file: reading it needs SciPy; '
                        "pip install 'diffpixel_ros[data]'") from error
    try:
        rows: dict[str, Any] = loadmat(str(path), squeeze_me=True, struct_as_record=False,
                                       variable_names=names)
    except Exception as error:  # of a damaged file SciPy's reader raises almost anything
        raise DataError(f'{path} cannot be read as a MATLAB file ({error}); copy it '
                        'again') from error
    lacking = [name for name in names if name not in rows]
    if lacking:
        raise DataError(f'{path} has no {", ".join(lacking)}; it must be the file of that name of '
                        'the SUN RGB-D toolbox')
    return rows


@contextmanager
def _hdf5(path: Path) -> Iterator[Any]:
    try:
        import h5py  # an extra
    except ImportError as error:
        raise DataError(f'{path} is a MATLAB 7.3 file: reading it needs h5py; '
                        "pip install 'diffpixel_ros[data]'") from error
    try:
        file = h5py.File(path, 'r')
    except OSError as error:
        raise DataError(f'{path} is damaged or no MATLAB 7.3 file; copy it again') from error
    with file:
        yield file
