# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""One frame of a data set read as it is, without refusing anything, and measured."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from diffpixel_core.datasets.description import Description, FrameFiles
from diffpixel_core.datasets.files import raw_label_ids
from diffpixel_core.depth import depth_in_metres
from diffpixel_core.doctor.alignment import Agreement, agreement, depth_edges, label_edges
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.image_folder import read_colour, read_raw_depth, stored_type

# Float depth is counted on a logarithmic scale, 3 parts in 10,000 apart, from a tenth of a
# millimetre to 100 km: float millimetres are a mistake to be found, not to be cut off.
_BINS_PER_DECADE = 7600
_LOWEST_DECADE = -4
_DECADES = 9
_Kind = Literal['missing', 'unreadable', 'coloured', 'size']


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a file.

    Attributes:
        kind: What sort of fault.
        path: The file.
        text: The fault, in words, without the file; '' if its kind says all.
    """

    kind: _Kind
    path: Path
    text: str


@dataclass(frozen=True, eq=False)
class Pictures:
    """The images of a frame that could be read.

    Attributes:
        rgb: `(H, W, 3)` uint8, or None.
        depth: `(H, W)` as stored: uint16, float, or `picture_steps` of an 8-bit picture; or None.
        depth_type: Type of the values in its file: 'uint16', 'uint8', 'float32'; '' if unread.
        ids: `(H, W)` raw ids of the label image, or None.
        faults: What was wrong.
    """

    rgb: npt.NDArray[np.uint8] | None
    depth: npt.NDArray[Any] | None
    depth_type: str
    ids: npt.NDArray[Any] | None
    faults: tuple[Fault, ...]

    def depth_m(self, unit: str) -> npt.NDArray[np.float32] | None:
        """Return `(H, W)` metres under a unit, 0 = not measured; None if it cannot be of it."""
        if self.depth is None or not explains(unit, self.depth_type):
            return None
        return depth_in_metres(self.depth, unit)


@dataclass(frozen=True, eq=False)
class Counts:
    """How often each value occurs.

    Attributes:
        values: `(N,)`, ascending.
        counts: `(N,)` int64.
    """

    values: npt.NDArray[Any] = field(default_factory=lambda: np.empty(0, np.uint16))
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, eq=False)
class Measured:
    """What is kept of a frame.

    Attributes:
        file: Its files.
        split: Its split.
        faults: What was wrong with them.
        size: `(height, width)` of the colour image; None if unread.
        depth_type: As in `Pictures`.
        depth: Depth values as stored and how often each occurs; float values in steps.
        ids: Raw label ids and how often each occurs.
        id_rows: `(N,)` float64 mean row of each of those ids, 0 = top, 1 = bottom.
        labelled: Whether the label image was read.
        contrast: Standard deviation of the colour image's grey values; None if unread.
        depth_agreement: How well edges of depth and colour meet, by shift; None if too few.
        label_agreement: The same of borders between labels.
    """

    file: FrameFiles
    split: str
    faults: tuple[Fault, ...]
    size: tuple[int, int] | None
    depth_type: str
    depth: Counts
    ids: Counts
    id_rows: npt.NDArray[np.float64]
    labelled: bool
    contrast: float | None
    depth_agreement: Agreement | None
    label_agreement: Agreement | None


def explains(unit: str, depth_type: str) -> bool:
    """Return whether values of a type can be depth in a unit."""
    if unit == 'relative':
        return depth_type == 'uint8'
    return depth_type.startswith('float') if unit == 'm' else depth_type == 'uint16'


def read_pictures(description: Description, file: FrameFiles) -> Pictures:
    """Return the images of a frame; what cannot be read becomes a fault."""
    faults: list[Fault] = []
    rgb = depth = ids = None
    depth_type = ''
    try:
        rgb = read_colour(file.colour)
    except DiffPixelError as error:
        faults.append(_unread(file.colour, error))
    try:
        depth_type = stored_type(file.depth)
        # Read as what it is, whatever it was said to be.
        unit = next((unit for unit in (description.depth_unit, 'mm', 'm', 'relative')
                     if explains(unit, depth_type)), description.depth_unit)
        depth = read_raw_depth(file.depth, unit)
    except DiffPixelError as error:
        faults.append(Fault('coloured', file.depth, '') if _is_coloured(file.depth, depth_type)
                      else _unread(file.depth, error))
    if file.label is not None:
        try:
            ids = raw_label_ids(description, file.label)
        except DiffPixelError as error:
            faults.append(_unread(file.label, error))
    if rgb is not None:
        height, width = rgb.shape[:2]
        for path, image in ((file.depth, depth), (file.label, ids)):
            if image is not None and path is not None and image.shape != (height, width):
                faults.append(Fault('size', path, f'{image.shape[1]}x{image.shape[0]}, its colour '
                                                  f'image {width}x{height}'))
    return Pictures(rgb, depth, depth_type, ids, tuple(faults))


def measure(description: Description, split: str, file: FrameFiles, *,
            edges: bool) -> Measured:
    """Return what is kept of a frame.

    Args:
        description: The data set.
        split: The split the frame is of.
        file: Its files.
        edges: Whether to compare edges, which takes half of the time.
    """
    seen = read_pictures(description, file)
    ids, rows = _counted_ids(seen.ids)
    agreements: list[Agreement | None] = [None, None]
    if edges and seen.rgb is not None:
        size = seen.rgb.shape[:2]
        depth_m = seen.depth_m(description.depth_unit)
        if depth_m is not None and depth_m.shape == size:
            agreements[0] = agreement(seen.rgb, depth_edges(depth_m))
        if seen.ids is not None and seen.ids.shape == size:
            agreements[1] = agreement(seen.rgb, label_edges(seen.ids))
    return Measured(
        file, split, seen.faults, None if seen.rgb is None else seen.rgb.shape[:2],
        seen.depth_type, _counted_depth(seen.depth), ids, rows, seen.ids is not None,
        None if seen.rgb is None else float(seen.rgb[::4, ::4].mean(axis=2).std()),
        agreements[0], agreements[1])


def merged(parts: list[Counts]) -> Counts:
    """Return counts of many images as one."""
    parts = [part for part in parts if part.values.size]
    if not parts:
        return Counts()
    values, places = np.unique(np.concatenate([part.values for part in parts]),
                               return_inverse=True)
    counts = np.bincount(places.ravel(), np.concatenate([part.counts for part in parts]))
    return Counts(values, counts.astype(np.int64))


def _counted_depth(depth: npt.NDArray[Any] | None) -> Counts:
    if depth is None:
        return Counts()
    if depth.dtype == np.uint16:
        counts = np.bincount(depth.ravel(), minlength=1)
        values = np.flatnonzero(counts)
        return Counts(values.astype(np.uint16), counts[values].astype(np.int64))
    steps = np.zeros(depth.shape, np.int64)
    with np.errstate(invalid='ignore'):
        good = (depth > 0) & (depth < np.inf)
    places = (np.log10(depth[good].astype(np.float64)) - _LOWEST_DECADE) * _BINS_PER_DECADE
    steps[good] = 1 + np.clip(places.round(), 0, _DECADES * _BINS_PER_DECADE).astype(np.int64)
    counts = np.bincount(steps.ravel())
    present = np.flatnonzero(counts)
    middle = 10.0 ** ((present - 1) / _BINS_PER_DECADE + _LOWEST_DECADE)
    return Counts(np.where(present == 0, 0, middle).astype(np.float32),
                  counts[present].astype(np.int64))


def _counted_ids(ids: npt.NDArray[Any] | None) -> tuple[Counts, npt.NDArray[np.float64]]:
    if ids is None:
        return Counts(), np.empty(0)
    counts = np.bincount(ids.ravel(), minlength=1)
    rows = np.repeat(np.arange(ids.shape[0]) / max(1, ids.shape[0] - 1), ids.shape[1])
    sums = np.bincount(ids.ravel(), rows)
    values = np.flatnonzero(counts)
    return (Counts(values.astype(np.uint16), counts[values].astype(np.int64)),
            sums[values] / counts[values])


def _unread(path: Path, error: DiffPixelError) -> Fault:
    # Of '<path> is damaged or no image (0 bytes); copy it again' the part in the middle.
    words = str(error).replace(str(path), '').split(';')[0].split()
    return Fault('unreadable' if path.is_file() else 'missing', path, ' '.join(words).strip(' :'))


def _is_coloured(path: Path, depth_type: str) -> bool:
    if depth_type != 'uint8':
        return False
    try:
        rgb = read_colour(path)
    except DiffPixelError:
        return False
    return bool((rgb != rgb[..., :1]).any())
