# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Compressed image messages, against loops written from image_transport's plugins."""

import struct
from array import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from diffpixel_core.compressed import (
    COMPRESSED_DEPTH_16,
    COMPRESSED_DEPTH_32,
    check_colour,
    check_depth,
    decode_colour,
    decode_depth,
    encode_colour,
    encode_compressed_depth,
)
from diffpixel_core.messages import MessageError
from diffpixel_core.rvl import rvl_size, unpack_rvl
from hostile import pack_rvl

H, W = 18, 20
A, B = 10100.0, -1009.0
JPEG_FORMAT = 'rgb8; jpeg compressed bgr8'


def _message(text: str, data: bytes) -> SimpleNamespace:
    return SimpleNamespace(header=None, format=text, data=array('B', data))


def _colours() -> np.ndarray:
    """Return patches of colour whose red, green and blue all differ."""
    patches = np.array([[(200, 30, 90), (20, 180, 60)], [(90, 60, 200), (240, 220, 10)]], np.uint8)
    return np.ascontiguousarray(patches.repeat(H // 2, 0).repeat(W // 2, 1))


def _depth() -> np.ndarray:
    rng = np.random.default_rng(1)
    depth = rng.integers(300, 9000, (H, W)).astype(np.uint16)
    depth[rng.random((H, W)) < 0.3] = 0
    depth[0, :3] = 65535, 65534, 1
    return depth


def _bytes(extension: str, image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(extension, image, options)[1].tobytes()


def _png(rgb: np.ndarray) -> bytes:
    return _bytes('.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def _refused(read: Callable[[Any], object], message: Any, cause: str,
             named: str | None = None) -> None:
    with pytest.raises(MessageError, match=named) as caught:
        read(message)
    assert caught.value.cause == cause, str(caught.value)


@pytest.mark.parametrize('text', [JPEG_FORMAT, 'bgr8; jpeg compressed bgr8', 'jpeg', 'jpg', '',
                                  'bgra8; jpeg compressed bgr8', 'rgb8; jpeg compressed '])
def test_jpeg_comes_back_with_red_where_red_was(text: str) -> None:
    _, data = encode_colour(_colours())
    message = _message(text, data)
    assert check_colour(message) == (H, W)
    image = decode_colour(message)
    assert (image.shape, image.dtype, image.flags.c_contiguous) == ((H, W, 3), np.uint8, True)
    inner = image.reshape(2, H // 2, 2, W // 2, 3)[:, 2:-2, :, 2:-2]  # subsampled at the borders
    truth = _colours().reshape(2, H // 2, 2, W // 2, 3)[:, 2:-2, :, 2:-2]
    assert np.abs(inner.astype(int) - truth).max() < 30


def test_encoded_colour_is_what_the_plugin_writes() -> None:
    rgb = _colours()
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    assert encode_colour(rgb, quality=80) == (
        JPEG_FORMAT, _bytes('.jpg', bgr, cv2.IMWRITE_JPEG_QUALITY, 80))


@pytest.mark.parametrize('text', ['rgb8; png compressed bgr8', 'png', 'bgr8; png compressed bgr8'])
def test_png_is_exact(text: str) -> None:
    image = decode_colour(_message(text, _png(_colours())))
    assert (image == _colours()).all()


@pytest.mark.parametrize('text', ['rgb8; png compressed rgb8', 'bgr8; png compressed rgb8'])
def test_files_that_hold_swapped_colours_are_swapped_back(text: str) -> None:
    # What a publisher makes that hands RGB to an encoder of BGR.
    image = decode_colour(_message(text, _bytes('.png', _colours())))
    assert (image == _colours()).all()


def test_transparency_is_dropped_and_grey_is_three_times_the_same() -> None:
    rgb = _colours()
    rgba = np.dstack([cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.full((H, W), 9, np.uint8)])
    assert (decode_colour(_message('png', _bytes('.png', rgba))) == rgb).all()
    grey = np.ascontiguousarray(rgb[:, :, 0])
    for extension in ('.png', '.jpg'):
        image = decode_colour(_message('mono8; jpeg compressed mono8', _bytes(extension, grey)))
        assert (image == image[:, :, :1]).all()
        assert np.abs(image[:, :, 0].astype(int) - grey).max() < 12


def test_a_picture_is_not_turned_by_what_its_camera_says() -> None:
    _, data = encode_colour(_colours())
    exif = b'Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0'  # orientation 6
    turned = data[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + data[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (W, H, 3)
    message = _message('jpeg', turned)
    assert check_colour(message) == (H, W)
    assert (decode_colour(message) == decode_colour(_message('jpeg', data))).all()


def test_progressive_and_padded_pictures_are_read() -> None:
    data = _bytes('.jpg', _colours(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    for picture in (data, data + bytes(100), data[:2] + b'\xff' * 9 + data[2:]):
        assert decode_colour(_message('jpeg', picture)).shape == (H, W, 3)


@pytest.mark.parametrize(('text', 'data', 'check', 'decode'), [
    ('jpeg', encode_colour(_colours())[1], check_colour, decode_colour),
    ('jpeg', _bytes('.jpg', _colours(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1), check_colour,
     decode_colour),
    ('png', _png(_colours()), check_colour, decode_colour),
    (COMPRESSED_DEPTH_16, encode_compressed_depth(_depth()), check_depth, decode_depth),
    ('16UC1; compressedDepth rvl', bytes(12) + pack_rvl(_depth())[:-4], None, decode_depth),
])
def test_a_message_cut_anywhere_is_refused(text: str, data: bytes, check: Any,
                                           decode: Any) -> None:
    for length in range(len(data)):
        for read in (check, decode):
            if read is not None:
                _refused(read, _message(text, data[:length]), 'bad_data')


@pytest.mark.parametrize(('text', 'data', 'check', 'decode'), [
    ('png', _png(_colours()), check_colour, decode_colour),
    (COMPRESSED_DEPTH_16, encode_compressed_depth(_depth()), check_depth, decode_depth)])
def test_checks_read_headers_and_do_not_decode(text: str, data: bytes, check: Any,
                                               decode: Any) -> None:
    at = data.index(b'IDAT') + 10
    message = _message(text, data[:at] + bytes(30) + data[at + 30:])
    assert check(message) == (H, W)
    _refused(decode, message, 'bad_data', 'damaged')


def test_sizes_cannot_be_hidden_behind_markers_without_a_length() -> None:
    # libjpeg takes FFD0 alone and would go on to 20000x20000; as a segment it hides just that.
    large = b'\xff\xd0' + b'\xff\xc0\0\x0b\x08' + struct.pack('>HH', 20_000, 20_000) + b'\1\1\x11\0'
    _, small = encode_colour(_colours())
    data = small[:2] + large.ljust(2 + 0xFFC0, b'\0') + small[2:]
    _refused(check_colour, _message('jpeg', data), 'bad_data', 'header ends')


@pytest.mark.parametrize('chunk', [b'IDAT', b'IEND'])
def test_chunks_that_claim_what_is_not_there_are_refused(chunk: bytes) -> None:
    data = _png(_colours())
    at = data.index(chunk) - 4
    damaged = data[:at] + b'\x80' + data[at + 1:]  # 2 GB, which OpenCV 5 would allocate and clear
    _refused(check_colour, _message('png', damaged), 'bad_data', 'was cut')


@pytest.mark.parametrize(('text', 'data', 'cause', 'named'), [
    ('jpeg', b'not a picture', 'bad_data', 'neither JPEG nor PNG'),
    ('h264', b'\0\0\0\1', 'bad_encoding', 'supported: jpeg and png'),
    ('rgb8; tiff compressed ', b'II*\0', 'bad_encoding', 'supported: jpeg and png'),
    (COMPRESSED_DEPTH_16, encode_compressed_depth(_depth()), 'bad_encoding', 'swapped'),
    ('16UC1; png compressed ', _bytes('.png', _depth()), 'bad_encoding', 'swapped'),
    ('png', _bytes('.png', _depth()), 'bad_encoding', '16 bits per value'),
    ('rgb16; png compressed bgr16', _bytes('.png', np.zeros((4, 4, 3), np.uint16)),
     'bad_encoding', '16 bits per value'),
    ('bayer_rggb8; png compressed ', _bytes('.png', _colours()[:, :, 0]), 'bad_encoding', 'Bayer'),
])
def test_colour_that_cannot_be_used_is_refused_by_name(text: str, data: bytes, cause: str,
                                                       named: str) -> None:
    for read in (check_colour, decode_colour):
        _refused(read, _message(text, data), cause, named)


@pytest.mark.parametrize('text', [COMPRESSED_DEPTH_16, '16UC1; compressedDepth', '16UC1', '',
                                  'mono16; compressedDepth png'])
@pytest.mark.parametrize('header', [bytes(12), struct.pack('<iff', 0, np.nan, np.inf)])
def test_compressed_depth_is_millimetres(text: str, header: bytes) -> None:
    message = _message(text, header + encode_compressed_depth(_depth())[12:])
    assert check_depth(message) == (H, W)
    depth_m = decode_depth(message)
    assert (depth_m.shape, depth_m.dtype) == ((H, W), np.float32)
    for v in range(H):
        for u in range(W):
            raw = int(_depth()[v, u])
            metres = 0 if raw in (0, 65535) else raw / 1000
            assert depth_m[v, u] == pytest.approx(metres, rel=1e-6)


def test_plain_png_of_16_bits_is_depth_too() -> None:
    depth_m = decode_depth(_message('16UC1; png compressed ', _bytes('.png', _depth())))
    assert (depth_m == decode_depth(_message(COMPRESSED_DEPTH_16,
                                             encode_compressed_depth(_depth())))).all()


def test_scale_is_metres_per_step_of_16_bits_only() -> None:
    sixteen = _message(COMPRESSED_DEPTH_16, encode_compressed_depth(_depth()))
    np.testing.assert_allclose(decode_depth(sixteen, scale=0.00025), decode_depth(sixteen) / 4,
                               rtol=1e-6)
    inverse = _message(COMPRESSED_DEPTH_32,
                       encode_compressed_depth(np.full((H, W), 2.0, np.float32)))
    assert (decode_depth(inverse, scale=0.00025) == decode_depth(inverse)).all()


@pytest.mark.parametrize(('a', 'b'), [(A, B), (5.0, 700.0), (1e38, 1.0), (2.0, 0.0)])
@pytest.mark.parametrize('rvl', [False, True])
def test_inverse_depth_is_read_as_the_plugin_wrote_it(a: float, b: float, rvl: bool) -> None:
    steps = np.array([[0, 1, 2, 699, 700, 701], [1000, 9000, 40000, 65534, 65535, 0]], np.uint16)
    body = pack_rvl(steps) if rvl else _bytes('.png', steps)
    codec = 'rvl' if rvl else 'png'
    depth_m = decode_depth(_message(f'32FC1; compressedDepth {codec}',
                                    struct.pack('<iff', 0, a, b) + body))
    for place, value in np.ndenumerate(steps):
        distance = a / (int(value) - b) if value and int(value) != b else 0.0
        measured = 0 < distance < np.finfo(np.float32).max
        assert depth_m[place] == pytest.approx(distance if measured else 0, rel=1e-6)


def test_metres_are_quantised_as_the_plugin_does() -> None:
    metres = np.array([[0.5, 1.0, 3.3, 9.99, 10.0, 42.0, np.inf, np.nan, 0.0, -1.0, 0.1]],
                      np.float32)
    data = encode_compressed_depth(metres)
    assert struct.unpack_from('<iff', data) == (0, A, B)
    steps = cv2.imdecode(np.frombuffer(data[12:], np.uint8), cv2.IMREAD_UNCHANGED)[0]
    kept = 4
    assert steps.tolist() == [int(A / float(value) + B) for value in metres[0, :kept]] + [0] * 7
    back = decode_depth(_message(COMPRESSED_DEPTH_32, data))[0]
    assert (back[kept:] == 0).all()
    error = np.abs(back[:kept] - metres[0, :kept])
    assert (error <= metres[0, :kept] ** 2 / A * 1.01).all()  # a step: 0.1 mm at 1 m


@pytest.mark.parametrize(('text', 'data', 'cause', 'named'), [
    ('rgb8; jpeg compressed bgr8', b'', 'bad_encoding', 'swapped'),
    ('16UC1; jpeg compressed mono8', b'', 'bad_encoding', 'ruins depth'),
    (COMPRESSED_DEPTH_16, encode_colour(_colours())[1], 'bad_encoding', 'ruins depth'),
    (COMPRESSED_DEPTH_16, bytes(12) + _png(_colours()), 'bad_encoding', 'swapped'),
    (COMPRESSED_DEPTH_16, bytes(12) + _bytes('.png', _colours()[:, :, 0]), 'bad_encoding',
     '8 bits'),
    (COMPRESSED_DEPTH_32, _bytes('.png', _depth()), 'bad_data', 'lacks the 12 bytes'),
    (COMPRESSED_DEPTH_32, bytes(12) + _bytes('.png', _depth()), 'bad_data', 'A=0'),
    (COMPRESSED_DEPTH_32, struct.pack('<iff', 0, np.nan, 1) + _bytes('.png', _depth()),
     'bad_data', 'finite'),
    ('32FC1; tiff compressed ', bytes(50), 'bad_encoding', 'supported: compressedDepth'),
])
def test_depth_that_cannot_be_used_is_refused_by_name(text: str, data: bytes, cause: str,
                                                      named: str) -> None:
    for read in (check_depth, decode_depth):
        _refused(read, _message(text, data), cause, named)


def test_rvl_of_three_pixels_worked_out_by_hand() -> None:
    # Two zeros: 2. One value: 1. Difference 5, zigzag 10 = 0b1_010: low bits 2, more to come: A, 1.
    data = struct.pack('<III', 3, 1, 0x21A10000)
    assert rvl_size(data) == (1, 3)
    assert unpack_rvl(data).tolist() == [[0, 0, 5]]
    assert pack_rvl(np.array([[0, 0, 5]], np.uint16)) == data


@pytest.mark.parametrize('depth', [
    _depth(), np.zeros((3, 5), np.uint16), np.full((3, 5), 65535, np.uint16),
    np.tile(np.array([[65535, 1], [0, 40_000]], np.uint16), (7, 9)),
    np.random.default_rng(3).integers(0, 65536, (31, 17)).astype(np.uint16),
    np.array([[7]], np.uint16)], ids=['depth', 'zeros', 'ones', 'leaps', 'noise', 'pixel'])
def test_rvl_is_unpacked_to_what_was_packed(depth: np.ndarray) -> None:
    message = _message('16UC1; compressedDepth rvl', bytes(12) + pack_rvl(depth))
    assert check_depth(message) == depth.shape
    assert (unpack_rvl(pack_rvl(depth)) == depth).all()
    plain = _message(COMPRESSED_DEPTH_16, encode_compressed_depth(depth))
    assert (decode_depth(message) == decode_depth(plain)).all()


def test_rvl_runs_may_follow_each_other_at_once() -> None:
    # No zeros, two values (differences 3 and 1); no zeros, one value (difference -2).
    stream = [0, 2, 6, 2, 0, 1, 3, 0]
    data = struct.pack('<III', 3, 1, int(''.join(f'{nibble:x}' for nibble in stream), 16))
    assert unpack_rvl(data).tolist() == [[3, 4, 2]]


@pytest.mark.parametrize(('stream', 'named'), [
    ([0] * 8, 'run of 0 zeros and 0 values'), ([4, 0], 'run of 4 zeros'), ([1, 7], 'of 1 zeros'),
    ([15] * 16, 'ends after 0 of 3'), ([15] * 12 + [0] * 4, '13 nibbles'), ([], 'ends after 0')])
def test_rvl_that_leads_out_of_the_image_is_refused(stream: list[int], named: str) -> None:
    stream = stream + [0] * (-len(stream) % 8)
    words = [int(''.join(f'{nibble:x}' for nibble in stream[word:word + 8]), 16)
             for word in range(0, len(stream), 8)]
    data = struct.pack(f'<II{len(words)}I', 3, 1, *words)
    _refused(unpack_rvl, data, 'bad_data', named)
