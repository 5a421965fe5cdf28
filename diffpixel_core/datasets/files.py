# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The frames of a data set, decoded from their files at every access."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from diffpixel_core.datasets.description import UNKNOWN_COLOUR, Description
from diffpixel_core.datasets.frames import DataError, LabelledFrame
from diffpixel_core.datasets.label_images import read_ids, read_label_picture
from diffpixel_core.depth import depth_in_metres
from diffpixel_core.geometry import NYU_CAMERA, Camera
from diffpixel_core.image_folder import (
    ImageFolderError,
    read_camera,
    read_colour,
    read_raw_depth,
)


class Stored(NamedTuple):
    """A frame as its files hold it; depth still in its own unit.

    Attributes:
        rgb: `(H, W, 3)` uint8.
        depth: `(H, W)` uint16 or float32, in the unit of the data set.
        labels: `(H, W)` uint8, 255 = unlabelled.
        cosine: `(H, W)` uint8, 255 = 1, or None.
    """

    rgb: npt.NDArray[np.uint8]
    depth: npt.NDArray[Any]
    labels: npt.NDArray[np.uint8]
    cosine: npt.NDArray[np.uint8] | None


class FileFrames:
    """The labelled frames of one split of a data set.

    Args:
        description: The data set.
        split: One of its splits.

    Attributes:
        files: The files of every frame.
        label_space: What the labels mean.
        names: The colour image's path of every frame.
        cameras: The camera each frame was taken with.

    Raises:
        DataError: If the split does not exist or is empty, or a frame has no label image.
    """

    def __init__(self, description: Description, split: str) -> None:
        self.description = description
        self.files = description.frames(split)
        self.label_space = description.label_space
        self.names: Sequence[str] = [str(file.colour) for file in self.files]
        self.cameras: Sequence[str] = [file.camera for file in self.files]
        bare = [file.name for file in self.files if file.label is None]
        if bare:
            raise DataError(f'{len(bare)} of {len(self.files)} frames in {description.root} have '
                            f'no label image, the first is {bare[0]!r}; training and evaluation '
                            'need labels')

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.files)

    def __getitem__(self, index: int) -> LabelledFrame:
        """Return a frame.

        Raises:
            DataError: If its images differ in size or a label is no class.
            ImageFolderError: If an image is damaged.
        """
        return as_frame(self.names[index], self.stored(index), self.description.depth_unit)

    def stored(self, index: int) -> Stored:
        """Return a frame with its depth as stored; raises what `__getitem__` does."""
        file = self.files[index]
        assert file.label is not None
        rgb = read_colour(file.colour)
        depth = read_raw_depth(file.depth, self.description.depth_unit)
        labels = self.description.raw_ids.translate(raw_label_ids(self.description, file.label),
                                                    name=file.label)
        cosine = None if file.cosine is None else _cosine(file.cosine)
        height, width = rgb.shape[:2]
        for path, image in ((file.depth, depth), (file.label, labels), (file.cosine, cosine)):
            if image is not None and image.shape != (height, width):
                raise DataError(f'{path} is {image.shape[1]}x{image.shape[0]} but its colour image '
                                f'{file.colour.name} is {width}x{height}; register depth to the '
                                'colour camera and write labels at its size: neither is resized '
                                'here')
        return Stored(rgb, depth, labels, cosine)

    def camera(self, frame: LabelledFrame) -> Camera:
        """Return the camera of the data set or its folder, else NYU's at the frame's size."""
        height, width = frame.labels.shape
        if self.description.intrinsics is not None:
            return Camera(width, height, *self.description.intrinsics)
        return folder_camera(self.description.root, height, width)


def raw_label_ids(description: Description, path: Path) -> npt.NDArray[Any]:
    """Return the ids in a label image of a data set, before `raw_ids` gives them their meaning.

    Returns:
        `(H, W)` uint8 or uint16.

    Raises:
        DataError: If it is colour-coded and a colour is that of no class, or the palette of an
            image of indices gives a class the colour of another.
        ImageFolderError: If the file is missing, damaged, or no label image.
    """
    coded = description.label_colours
    if coded is None:
        return read_ids(path)
    ids, colours = read_label_picture(path)
    if colours is None:
        assert ids is not None
        if not coded.of_palettes or ids.dtype != np.uint8:
            return ids
        colours = np.asarray(np.repeat(ids[..., None], 3, axis=2), np.uint8)
    by_colour = coded.raw_ids(colours)
    unknown = by_colour == UNKNOWN_COLOUR
    if ids is None or coded.of_palettes:
        if unknown.any():
            found, counts = np.unique(colours[unknown], axis=0, return_counts=True)
            said = ', '.join(f'{tuple(map(int, rgb))} ({n} pixels)' for rgb, n in
                             list(zip(found, counts, strict=True))[:5])
            raise DataError(f'{path} holds colour {said}, which is that of no class; add it to the '
                            'classes or to void')
        return by_colour
    table = description.raw_ids.table
    contrary = ~unknown & (table[by_colour] != table[ids])
    if contrary.any():
        y, x = np.argwhere(contrary)[0]
        raise DataError(f'{path} is a palette image whose index {ids[y, x]} has the colour of id '
                        f"{by_colour[y, x]}; set label_images to 'colours' if colours are meant, "
                        "to 'ids' if indices are")
    return ids


def as_frame(name: str, stored: Stored, unit: str) -> LabelledFrame:
    """Return a frame with depth in metres."""
    cosine = None if stored.cosine is None else stored.cosine * np.float32(1 / 255)
    return LabelledFrame(name, stored.rgb, depth_in_metres(stored.depth, unit), stored.labels,
                         cosine)


@lru_cache(maxsize=64)
def folder_camera(folder: Path, height: int, width: int) -> Camera:
    """Return the camera described in a folder, else NYU's at this size."""
    camera = read_camera(folder, width=width, height=height)
    return NYU_CAMERA.resized(width, height) if camera is None else camera


def _cosine(path: Path) -> npt.NDArray[np.uint8]:
    cosine = read_ids(path)
    if cosine.dtype != np.uint8:
        raise ImageFolderError(f'{path} is {cosine.dtype}; an incidence cosine has 8 bits')
    return np.asarray(cosine, np.uint8)
