# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Image messages, against loops that read them byte by byte."""

import sys
from array import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from diffpixel_core.messages import (
    MAX_PIXELS,
    MessageError,
    check_colour,
    check_depth,
    decode_colour,
    decode_depth,
    fill_image,
    stamp_ns,
)

H, W = 3, 4
ORDER = {'rgb8': 'RGB', 'bgr8': 'BGR', 'rgba8': 'RGBA', 'bgra8': 'BGRA', 'mono8': 'Y',
         '8UC1': 'Y', '8UC3': 'BGR', '8UC4': 'BGRA'}


def _message(rows: list[bytes], encoding: str, *, width: int = W, padding: int = 0,
             big_endian: bool = False, last_row_padded: bool = True) -> SimpleNamespace:
    data = array('B')
    for number, row in enumerate(rows):
        last = number == len(rows) - 1
        data.frombytes(row + b'\xaa' * (padding if last_row_padded or not last else 0))
    return SimpleNamespace(header=None, height=len(rows), width=width, encoding=encoding,
                           is_bigendian=int(big_endian), step=len(rows[0]) + padding, data=data)


def _random_rows(bytes_per_pixel: int) -> list[bytes]:
    return [row.tobytes() for row in
            np.random.default_rng(1).integers(0, 256, (H, W * bytes_per_pixel)).astype(np.uint8)]


@pytest.mark.parametrize('encoding', ORDER)
@pytest.mark.parametrize(('padding', 'last_row_padded'), [(0, True), (5, True), (5, False)])
def test_colour_is_read_as_its_encoding_says(encoding: str, padding: int,
                                             last_row_padded: bool) -> None:
    order = ORDER[encoding]
    rows = _random_rows(len(order))
    message = _message(rows, encoding, padding=padding, last_row_padded=last_row_padded)
    assert check_colour(message) == (H, W)
    image = decode_colour(message)
    assert image.shape == (H, W, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    for v in range(H):
        for u in range(W):
            for channel, letter in enumerate('RGB'):
                place = order.index(letter) if letter in order else 0
                assert image[v, u, channel] == rows[v][u * len(order) + place]


@pytest.mark.parametrize(('encoding', 'luma_first'), [
    ('yuv422', False), ('yuv422_yuy2', True), ('uyvy', False), ('yuyv', True)])
def test_yuv_comes_back_as_the_colours_that_went_in(encoding: str, luma_first: bool) -> None:
    colours = [(200, 30, 40), (20, 180, 60), (90, 90, 200)]
    rows = []
    for colour in colours:
        y, v, u = (int(c) for c in cv2.cvtColor(np.array([[colour]], np.uint8),
                                                cv2.COLOR_RGB2YCrCb)[0, 0])
        # Studio swing, as cameras send it; OpenCV's YCrCb is full swing.
        y, u, v = 16 + y * 219 // 255, 128 + (u - 128) * 224 // 255, 128 + (v - 128) * 224 // 255
        rows.append(bytes([y, u, y, v] if luma_first else [u, y, v, y]) * (W // 2))
    image = decode_colour(_message(rows, encoding))
    for v, colour in enumerate(colours):
        assert np.abs(image[v].astype(int) - colour).max() < 12, (image[v], colour)


def _rgb_from_yuv(y: int, u: int, v: int) -> list[float]:
    """Return red, green and blue of studio-swing values; ITU-R BT.601."""
    luma, blue, red = 255 / 219 * (y - 16), 255 / 224 * (u - 128), 255 / 224 * (v - 128)
    rgb = (luma + 1.402 * red, luma - 0.344 * blue - 0.714 * red, luma + 1.772 * blue)
    return [min(max(value, 0.0), 255.0) for value in rgb]


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('encoding', ['yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', 'nv12', 'nv21'])
def test_yuv_is_read_value_by_value(encoding: str, padding: int) -> None:
    height, planar = 4, encoding.startswith('nv')
    random = np.random.default_rng(5).integers(40, 200, (6, W * (1 if planar else 2)))
    rows = [row.tobytes() for row in random[:6 if planar else height].astype(np.uint8)]
    message = _message(rows, encoding, padding=padding)
    message.height = height
    assert check_colour(message) == (height, W)
    image = decode_colour(message)
    assert image.shape == (height, W, 3)
    for row in range(height):
        for column in range(W):
            pair = column // 2 * 2
            if planar:
                y, chroma = rows[row][column], rows[height + row // 2][pair:pair + 2]
                u, v = chroma if encoding == 'nv12' else chroma[::-1]
            else:
                four = rows[row][2 * pair:2 * pair + 4]
                luma_first = encoding in ('yuv422_yuy2', 'yuyv')
                lumas, chroma = (four[0::2], four[1::2]) if luma_first else (four[1::2], four[0::2])
                y, (u, v) = lumas[column % 2], chroma
            assert np.abs(image[row, column] - np.array(_rgb_from_yuv(y, u, v))).max() < 2


@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('padding', [0, 3])
def test_grey_of_16_bits_keeps_its_brightness(big_endian: bool, padding: int) -> None:
    rows = _random_rows(2)
    image = decode_colour(_message(rows, 'mono16', big_endian=big_endian, padding=padding))
    for v in range(H):
        for u in range(W):
            raw = int.from_bytes(rows[v][2 * u:2 * u + 2], 'big' if big_endian else 'little')
            assert image[v, u].tolist() == [round(raw * 255 / 65535)] * 3


@pytest.mark.parametrize('wrap', [bytes, bytearray, lambda data: np.frombuffer(data, np.uint8)])
def test_data_may_be_whatever_holds_bytes(wrap: Callable[[bytes], Any]) -> None:
    for encoding, size, decode in (('bgr8', 3, decode_colour), ('16UC1', 2, decode_depth),
                                   ('yuyv', 2, decode_colour), ('32FC1', 4, decode_depth)):
        message = _message(_random_rows(size), encoding, padding=1)
        before = decode(message)
        message.data = wrap(message.data.tobytes())
        assert decode(message).tobytes() == before.tobytes()


def test_rgb8_is_not_copied() -> None:
    message = _message(_random_rows(3), 'rgb8')
    assert np.shares_memory(decode_colour(message), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize('encoding', ['16UC1', 'mono16'])
@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('padding', [0, 3])
def test_16_bit_depth_is_millimetres(encoding: str, big_endian: bool, padding: int) -> None:
    rows = _random_rows(2)
    rows[0] = b'\0\0\xff\xff' + rows[0][4:]
    message = _message(rows, encoding, big_endian=big_endian, padding=padding)
    assert check_depth(message) == (H, W)
    depth_m = decode_depth(message)
    assert depth_m.dtype == np.float32
    for v in range(H):
        for u in range(W):
            raw = int.from_bytes(rows[v][2 * u:2 * u + 2], 'big' if big_endian else 'little')
            metres = 0 if raw in (0, 65535) else raw / 1000
            assert depth_m[v, u] == pytest.approx(metres, rel=1e-6)


def test_depth_scale_is_metres_per_step() -> None:
    rows = [np.full(W, 4000, '<u2').tobytes()]
    assert decode_depth(_message(rows, '16UC1'), scale=0.00025) == pytest.approx(1.0)


@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('padding', [0, 6])
def test_float_depth_is_metres_and_nothing_else_is_measured(big_endian: bool,
                                                            padding: int) -> None:
    values = np.array([[1.5, np.nan, np.inf, -np.inf], [0.0, -2.0, 3.25, 1e-3]])
    rows = [row.astype('>f4' if big_endian else '<f4').tobytes() for row in values]
    depth_m = decode_depth(_message(rows, '32FC1', big_endian=big_endian, padding=padding))
    assert depth_m.tolist() == [[1.5, 0, 0, 0], [0, 0, 3.25, np.float32(1e-3)]]


def test_decoding_depth_leaves_the_message_alone() -> None:
    rows = [np.full(W, np.nan, '<f4').tobytes()]
    message = _message(rows, '32FC1')
    decode_depth(message)
    assert message.data.tobytes() == rows[0]


@pytest.mark.parametrize(('change', 'cause', 'named'), [
    ({'encoding': 'bayer_rggb8'}, 'bad_encoding', 'bgra8'),
    ({'encoding': '16UC1'}, 'bad_encoding', 'swapped'),
    ({'encoding': ''}, 'bad_encoding', "''"),
    ({'height': 0}, 'bad_size', '4x0'),
    ({'width': 0}, 'bad_size', '0x3'),
    ({'height': MAX_PIXELS}, 'bad_size', 'million'),
    ({'step': 3 * W - 1}, 'bad_size', '12 bytes'),
    ({'step': 0}, 'bad_size', 'step 0'),
    ({'data': b'\0' * (3 * W * H - 1)}, 'bad_data', '35 bytes, it needs 36'),
    ({'data': b''}, 'bad_data', '0 bytes'),
])
def test_malformed_colour_is_refused_by_name(change: dict[str, Any], cause: str,
                                             named: str) -> None:
    message = _message(_random_rows(3), 'rgb8')
    check_colour(message)
    vars(message).update(change)
    for refuse in (check_colour, decode_colour):
        with pytest.raises(MessageError, match=named) as caught:
            refuse(message)
        assert caught.value.cause == cause


@pytest.mark.parametrize(('change', 'cause', 'named'), [
    ({'encoding': 'rgb8'}, 'bad_encoding', 'swapped'),
    ({'encoding': '8UC1'}, 'bad_encoding', '32FC1'),
    ({'width': 0}, 'bad_size', '0x3'),
    ({'step': 2 * W - 1}, 'bad_size', '8 bytes'),
    ({'data': b'\0' * 23}, 'bad_data', '23 bytes, it needs 24'),
])
def test_malformed_depth_is_refused_by_name(change: dict[str, Any], cause: str,
                                            named: str) -> None:
    message = _message(_random_rows(2), '16UC1')
    check_depth(message)
    vars(message).update(change)
    for refuse in (check_depth, decode_depth):
        with pytest.raises(MessageError, match=named) as caught:
            refuse(message)
        assert caught.value.cause == cause


@pytest.mark.parametrize(('encoding', 'width', 'height'), [
    ('yuv422', 3, 2), ('yuyv', 5, 2), ('nv12', 3, 2), ('nv12', 4, 3), ('nv21', 4, 1)])
def test_odd_sizes_are_refused_where_pixels_share_a_colour(encoding: str, width: int,
                                                           height: int) -> None:
    message = _message([b'\0' * 16] * 8, encoding, width=width)
    message.height = height
    with pytest.raises(MessageError, match='even') as caught:
        check_colour(message)
    assert caught.value.cause == 'bad_size'


def test_planes_of_colour_are_part_of_the_image() -> None:
    message = _message([b'\0' * W] * 5, 'nv12')
    message.height = 4
    with pytest.raises(MessageError, match='20 bytes, it needs 24'):
        check_colour(message)


@pytest.mark.parametrize('check', [check_colour, check_depth])
def test_a_refusal_repeats_little_of_what_the_message_says(
        check: Callable[[Any], object]) -> None:
    message = _message(_random_rows(3), 'x' * 100_000)
    with pytest.raises(MessageError) as caught:
        check(message)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(('shape', 'dtype', 'encoding'), [
    ((5, 7), np.uint8, 'mono8'), ((5, 7, 3), np.uint8, 'rgb8'), ((5, 7), np.uint16, '16UC1'),
    ((5, 7), np.float32, '32FC1')])
def test_filled_message_holds_the_image(shape: tuple[int, ...], dtype: type,
                                        encoding: str) -> None:
    image = np.random.default_rng(2).integers(1, 200, shape).astype(dtype)
    message = _message([b'older'], 'mono8', width=5)
    for content in (image, image[::-1]):  # a message may be used again; a view is no obstacle
        fill_image(message, content, encoding=encoding, header='the header')
        assert (message.height, message.width, message.encoding) == (5, 7, encoding)
        assert message.step == 7 * image[0, 0].nbytes
        assert message.header == 'the header'
        assert message.is_bigendian == (sys.byteorder == 'big')
        assert message.data.tobytes() == content.tobytes()


def test_filled_depth_is_decoded_to_the_same() -> None:
    depth_m = np.random.default_rng(3).uniform(0.5, 5, (H, W)).astype(np.float32)
    message = _message([b''], 'mono8')
    fill_image(message, depth_m, encoding='32FC1', header=None)
    assert (decode_depth(message) == depth_m).all()


def test_stamp_is_exact_to_the_nanosecond() -> None:
    stamp = SimpleNamespace(sec=1_700_000_000, nanosec=123_456_789)
    message = SimpleNamespace(header=SimpleNamespace(stamp=stamp))
    assert stamp_ns(message) == 1_700_000_000_123_456_789
