# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Label images as their files hold them: grey ids, palette indices or colours."""

import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.image_folder import ImageFolderError, decode, read_bytes

_BITS, _TYPE = 24, 25  # places in a PNG of its bit depth and its type of colour
_PALETTE = 3


class LabelPicture(NamedTuple):
    """A label image as its file holds it.

    Attributes:
        ids: `(H, W)` uint8 or uint16: grey values or palette indices; None of a true-colour image.
        colours: `(H, W, 3)` uint8 RGB; None of a grey image.
    """

    ids: npt.NDArray[Any] | None
    colours: npt.NDArray[np.uint8] | None


def read_ids(path: Path) -> npt.NDArray[Any]:
    """Return the ids of a label image as stored: `(H, W)` uint8 or uint16; of a palette, indices.

    Raises:
        ImageFolderError: If the file is missing, damaged, or not one channel of integers; three
            equal channels count as one.
    """
    picture = read_label_picture(path)
    if picture.ids is not None:
        return picture.ids
    assert picture.colours is not None
    ids = picture.colours[..., 0]
    if (picture.colours != ids[..., None]).any():
        raise ImageFolderError(f'label image {path} is a picture in colours; it must be one '
                               'channel of 8- or 16-bit ids, or be described by a YAML that gives '
                               'each class its rgb')
    return ids


def read_label_picture(path: Path) -> LabelPicture:
    """Return ids or colours of a label image, whichever its file holds; of a palette both.

    Raises:
        ImageFolderError: If the file is missing, damaged, or neither 8-bit colours nor one channel
            of 8 or 16 bits.
    """
    data = read_bytes(path)
    image = decode(data, path, cv2.IMREAD_UNCHANGED)
    grey = _palette_as_grey(data)
    ids: npt.NDArray[Any] | None = None
    if grey is not None:
        largest = 2 ** data[_BITS] - 1  # fewer than 8 bits are stretched to 255
        ids = decode(grey, path, cv2.IMREAD_UNCHANGED) // (255 // largest)
    elif image.ndim == 2 and image.dtype in (np.uint8, np.uint16):
        return LabelPicture(image, None)
    if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
        raise ImageFolderError(f'label image {path} is {image.dtype} of shape {image.shape}; it '
                               'must be one channel of 8- or 16-bit ids, or 8-bit colours')
    return LabelPicture(ids, np.asarray(image[..., 2::-1], np.uint8))


def _palette_as_grey(data: bytes) -> bytes | None:
    """Return a PNG whose greys are the palette indices of this one; None if it has no palette.

    OpenCV hands out a palette's colours only. The pixels of a palette PNG are stored as those of a
    grey one: with another type in its header, and without the palette, they are read as they are.

    Source: PNG specification (ISO/IEC 15948), 11.2.2 IHDR and 11.2.3 PLTE.
    """
    if not data.startswith(b'\x89PNG') or len(data) < 33 or data[_TYPE] != _PALETTE:
        return None
    header = data[12:_TYPE] + b'\0' + data[_TYPE + 1:29]
    parts = [data[:12], header, struct.pack('>I', zlib.crc32(header))]
    start = 33
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start:start + 4], 'big')
        if data[start + 4:start + 8] not in (b'PLTE', b'tRNS', b'bKGD', b'hIST', b'sBIT'):
            parts.append(data[start:end])
        start = end
    return b''.join(parts)
