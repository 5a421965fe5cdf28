# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Label images give ids whichever way they are stored."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffpixel_core.datasets.label_images import read_ids, read_label_picture
from diffpixel_core.image_folder import ImageFolderError

RNG = np.random.default_rng(0)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def palette_png(ids: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8], bits: int,
                *, alpha: bool = False) -> bytes:
    """Return a PNG of palette indices, written from the specification."""
    rows = b''.join(b'\0' + np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits:]).tobytes()
                    for row in ids)
    return (b'\x89PNG\r\n\x1a\n'
            + chunk(b'IHDR', struct.pack('>IIBBBBB', ids.shape[1], ids.shape[0], bits, 3, 0, 0, 0))
            + chunk(b'PLTE', palette.tobytes()) + alpha * chunk(b'tRNS', b'\0\x80')
            + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))


@pytest.mark.parametrize('alpha', [False, True])
@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_palette_images_give_their_indices_and_their_colours(tmp_path: Path, bits: int,
                                                             alpha: bool) -> None:
    ids = RNG.integers(0, 2 ** bits, (5, 7)).astype(np.uint8)
    palette = RNG.integers(0, 256, (2 ** bits, 3)).astype(np.uint8)
    path = tmp_path / 'l.png'
    path.write_bytes(palette_png(ids, palette, bits, alpha=alpha))
    np.testing.assert_array_equal(read_ids(path), ids)
    colours = read_label_picture(path).colours
    assert colours is not None
    np.testing.assert_array_equal(colours, palette[ids])


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_grey_images_give_their_values(tmp_path: Path, dtype: type[np.generic]) -> None:
    ids = RNG.integers(0, 41, (5, 7)).astype(dtype)
    assert cv2.imwrite(str(tmp_path / 'l.png'), ids)
    read = read_ids(tmp_path / 'l.png')
    np.testing.assert_array_equal(read, ids)
    assert read.dtype == dtype
    assert read_label_picture(tmp_path / 'l.png').colours is None


def test_three_equal_channels_are_ids_and_unequal_ones_are_not(tmp_path: Path) -> None:
    ids = RNG.integers(0, 41, (5, 7), dtype=np.uint8)
    picture = np.repeat(ids[..., None], 3, axis=2)
    assert cv2.imwrite(str(tmp_path / 'l.png'), picture)
    np.testing.assert_array_equal(read_ids(tmp_path / 'l.png'), ids)
    picture[2, 3, 1] ^= 1
    assert cv2.imwrite(str(tmp_path / 'l.png'), picture)
    with pytest.raises(ImageFolderError, match=r'l\.png is a picture in colours.*its rgb'):
        read_ids(tmp_path / 'l.png')


def test_what_holds_no_labels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'l.png'
    assert cv2.imwrite(str(path), np.zeros((5, 7, 3), np.uint16))
    with pytest.raises(ImageFolderError, match=r'l\.png is uint16 of shape \(5, 7, 3\)'):
        read_ids(path)
    path.write_bytes(palette_png(np.zeros((5, 7), np.uint8), np.zeros((1, 3), np.uint8), 8)[:60])
    with pytest.raises(ImageFolderError, match=r'l\.png is damaged'):
        read_ids(path)
