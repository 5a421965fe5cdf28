# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Messages a node must survive: malformed, hostile, or legal but odd; the same ones for a seed."""

import itertools
import struct
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from diffpixel_core.messages import COLOUR_ENCODINGS, DEPTH_ENCODINGS

COLOUR, DEPTH = 'colour', 'depth'
COLOUR_COMPRESSED, DEPTH_COMPRESSED = 'colour_compressed', 'depth_compressed'
CAMERA_INFO = 'camera_info'
START_S = 1_700_000_000
_PERIOD_NS = 33_333_333
_MOST = 2**32 - 1
_ANY = ('bad_data', 'bad_encoding', 'bad_size')

Fields = dict[str, Any]
Rng = np.random.Generator
# What it is, the causes it may be refused with, whether it may be decoded, and how to make it.
Case = tuple[str, tuple[str, ...], bool, Callable[[Fields, Rng], Fields]]


@dataclass(frozen=True, slots=True)
class Hostile:
    """A message and what must become of it.

    Attributes:
        kind: `colour`, `depth`, `colour_compressed`, `depth_compressed` or `camera_info`.
        what: What is odd about it.
        causes: The causes it may be refused with; none if it has to be taken.
        legal: Whether it may be taken; with causes, both ways are right.
        sec: Seconds of the stamp, int32.
        nanosec: Nanoseconds of the stamp, uint32, beyond a second too.
        frame_id: Of the header.
        fields: All other fields, `data` as bytes.
    """

    kind: str
    what: str
    causes: tuple[str, ...]
    legal: bool
    sec: int
    nanosec: int
    frame_id: str
    fields: Fields

    def plain(self) -> SimpleNamespace:
        """Return the message for code that looks at fields only."""
        stamp = SimpleNamespace(sec=self.sec, nanosec=self.nanosec)
        header = SimpleNamespace(stamp=stamp, frame_id=self.frame_id)
        fields = dict(self.fields)
        if self.kind == CAMERA_INFO:
            fields['roi'] = SimpleNamespace(**fields['roi'])
        return SimpleNamespace(header=header, **fields)

    def message(self) -> Any:
        """Return the message as ROS knows it, ready to be published."""
        import sensor_msgs.msg as sensor_msgs  # most tests have no ROS

        if self.kind == CAMERA_INFO:
            message = sensor_msgs.CameraInfo()
        elif self.kind in (COLOUR, DEPTH):
            message = sensor_msgs.Image()
        else:
            message = sensor_msgs.CompressedImage()
        message.header.stamp.sec, message.header.stamp.nanosec = self.sec, self.nanosec
        message.header.frame_id = self.frame_id
        for name, value in self.fields.items():
            if name == 'data':
                message.data.frombytes(value)
            elif name == 'roi':
                message.roi = sensor_msgs.RegionOfInterest(**value)
            else:
                setattr(message, name, array('d', value) if name == 'd' else value)
        return message


def hostile(seed: int, *, start_s: int = START_S) -> Iterator[Hostile]:
    """Yield messages without end, in an order that the seed decides.

    Args:
        seed: Of the random numbers.
        start_s: Stamp of the first, seconds; most of them follow each other at 30 Hz.
    """
    rng = np.random.default_rng(seed)
    cases = [(kind, make, case) for kind, make, kinds_cases in _KINDS for case in kinds_cases]
    previous = (start_s, 0)
    for number in itertools.count():
        kind, make, (what, causes, legal, change) = cases[rng.integers(len(cases))]
        size = (640, 480) if number % 250 == 249 else _small(rng)
        fields = make(rng, *size)
        fields |= change(fields, rng)
        now_ns = start_s * 1_000_000_000 + number * _PERIOD_NS
        stamp = _stamp(rng, now_ns, previous)
        previous = stamp
        frame = _FRAMES[rng.integers(len(_FRAMES))] if rng.random() < 0.2 else _FRAMES[0]
        yield Hostile(kind, what, causes, legal, *stamp, frame, fields)
        if number % 50 == 0:
            pair = 'half of a pair whose sizes differ'
            yield Hostile(COLOUR, pair, (), True, *stamp, frame, _raw_colour(rng, 32, 24))
            yield Hostile(DEPTH, pair, (), True, *stamp, frame, _raw_depth(rng, 16, 12))


def pack_rvl(depth: Any) -> bytes:
    """Return a `(H, W)` uint16 image in RVL behind its two sizes; a loop, pixel by pixel.

    Source: A. Wilson, "Fast Lossless Depth Image Compression", ISS 2017.
    """
    nibbles: list[int] = []

    def put(number: int) -> None:
        while number > 7:
            nibbles.append(8 | number & 7)
            number >>= 3
        nibbles.append(number)

    flat = depth.ravel().tolist()
    previous = place = 0
    while place < len(flat):
        start = place
        while place < len(flat) and flat[place] == 0:
            place += 1
        put(place - start)
        start = place
        while place < len(flat) and flat[place] != 0:
            place += 1
        put(place - start)
        for value in flat[start:place]:
            difference = value - previous
            put(2 * difference if difference >= 0 else -2 * difference - 1)
            previous = value
    nibbles += [0] * (-len(nibbles) % 8)
    words = [int(''.join(f'{nibble:x}' for nibble in nibbles[word:word + 8]), 16)
             for word in range(0, len(nibbles), 8)]
    return struct.pack(f'<II{len(words)}I', depth.shape[1], depth.shape[0], *words)


def _small(rng: Rng) -> tuple[int, int]:
    return 2 * int(rng.integers(8, 33)), 2 * int(rng.integers(6, 25))


def _stamp(rng: Rng, now_ns: int, previous: tuple[int, int]) -> tuple[int, int]:
    now = (now_ns // 1_000_000_000, now_ns % 1_000_000_000)
    odd = [(0, 0), (-1, 0), (-2**31, 999_999_999), (2**31 - 1, 0), (now[0], 4_000_000_000),
           (now[0], _MOST), (now[0] - 3600, 0), (now[0] + 86400, 0), previous]
    return odd[rng.integers(len(odd))] if rng.random() < 0.2 else now


_FRAMES = ('camera_color_optical_frame', '', 'x' * 10_000, 'カメラ_光学', '/leading/slash',
           'a b\n\tc', '../../../etc/passwd', '%s%n{0}', '"];DROP', '😀' * 50)


# Raw images. ---------------------------------------------------------------------------------

def _raw(rng: Rng, width: int, height: int, encoding: str, pixels: Any) -> Fields:
    row = width * pixels.channels * np.dtype(pixels.dtype).itemsize
    step = row + 4 * int(rng.integers(0, 3))
    return {'width': width, 'height': height, 'encoding': encoding, 'step': step,
            'is_bigendian': int(rng.integers(2)), 'data': rng.bytes(step * pixels.rows(height))}


def _raw_colour(rng: Rng, width: int, height: int) -> Fields:
    encoding = list(COLOUR_ENCODINGS)[rng.integers(len(COLOUR_ENCODINGS))]
    return _raw(rng, width, height, encoding, COLOUR_ENCODINGS[encoding])


def _raw_depth(rng: Rng, width: int, height: int) -> Fields:
    encoding = list(DEPTH_ENCODINGS)[rng.integers(len(DEPTH_ENCODINGS))]
    return _raw(rng, width, height, encoding, DEPTH_ENCODINGS[encoding])


def _pixels(fields: Fields) -> Any:
    return (COLOUR_ENCODINGS | DEPTH_ENCODINGS)[fields['encoding']]


def _row(fields: Fields) -> int:
    pixels = _pixels(fields)
    return int(fields['width'] * pixels.channels * np.dtype(pixels.dtype).itemsize)


def _needed(fields: Fields) -> int:
    return fields['step'] * (_pixels(fields).rows(fields['height']) - 1) + _row(fields)


def _one_of(rng: Rng, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def _filled(fields: Fields, *, floats: float, steps: int) -> Fields:
    value = struct.pack('<f', floats) if fields['encoding'] == '32FC1' else struct.pack('<H', steps)
    return {'is_bigendian': 0, 'data': value * (len(fields['data']) // len(value) + 1)}


def _tiny(width: int, height: int, encoding: str) -> Fields:
    return {'width': width, 'height': height, 'encoding': encoding, 'step': 4 * width,
            'data': bytes(range(4)) * (width * height)}


_RAW: list[Case] = [
    ('as it should be', (), True, lambda f, r: {}),
    ('longer than needed', (), True, lambda f, r: {'data': f['data'] + r.bytes(1000)}),
    ('last row without padding', (), True, lambda f, r: {'data': f['data'][:_needed(f)]}),
    ('is_bigendian is 255', (), True, lambda f, r: {'is_bigendian': 255}),
    ('no columns', ('bad_size',), False, lambda f, r: {'width': 0}),
    ('no rows', ('bad_size',), False, lambda f, r: {'height': 0}),
    ('nothing at all', ('bad_size',), False,
     lambda f, r: {'width': 0, 'height': 0, 'step': 0, 'data': b''}),
    ('2^32-1 pixels each way', ('bad_size',), False,
     lambda f, r: {'width': _MOST, 'height': _MOST, 'step': _MOST}),
    ('60000x60000', ('bad_size',), False,
     lambda f, r: {'width': 60_000, 'height': 60_000, 'step': 240_000}),
    ('8000x8000 in few bytes', ('bad_data',), False,
     lambda f, r: {'width': 8000, 'height': 8000, 'step': 32_000}),
    ('rows of 4 GB', ('bad_data',), False, lambda f, r: {'step': _MOST}),
    ('step shorter than a row', ('bad_size',), False,
     lambda f, r: {'step': int(r.integers(_row(f)))}),
    ('cut', ('bad_data',), False, lambda f, r: {'data': f['data'][:r.integers(_needed(f))]}),
    ('one byte short', ('bad_data',), False, lambda f, r: {'data': f['data'][:_needed(f) - 1]}),
    ('empty', ('bad_data',), False, lambda f, r: {'data': b''}),
    ('unknown encoding', ('bad_encoding',), False, lambda f, r: {'encoding': _one_of(
        r, '', 'RGB8', 'rgb88', 'h264', 'x' * 5000, 'röd8', '64FC1', '32SC1', '16SC1', '8UC',
        'rgb8 ', '8UC999999999', '\n', '%s', 'sixteen')}),
]
_RAW_COLOUR: list[Case] = [
    *_RAW,
    ('depth on the colour topic', ('bad_encoding',), False,
     lambda f, r: {'encoding': _one_of(r, '16UC1', '32FC1')}),
    ('odd width, shared colours', ('bad_size',), False, lambda f, r: {
        'encoding': _one_of(r, 'uyvy', 'yuyv', 'nv12'), 'width': 15, 'height': 12}),
    ('odd height, shared colours', ('bad_size',), False, lambda f, r: {
        'encoding': _one_of(r, 'nv12', 'nv21'), 'width': 16, 'height': 11}),
    ('one pixel', (), True, lambda f, r: _tiny(1, 1, 'rgb8')),
    ('one row', (), True, lambda f, r: _tiny(64, 1, 'bgra8')),
    ('one row of 4 GB', (), True, lambda f, r: _tiny(64, 1, 'bgr8') | {'step': _MOST}),
    ('one column', (), True, lambda f, r: _tiny(1, 48, 'mono8')),
]
_RAW_DEPTH: list[Case] = [
    *_RAW,
    ('colour on the depth topic', ('bad_encoding',), False,
     lambda f, r: {'encoding': _one_of(r, 'rgb8', 'bgra8', 'mono8', '8UC1')}),
    ('nothing measured', (), True, lambda f, r: _filled(f, floats=0, steps=0)),
    ('NaN or 65535 everywhere', (), True, lambda f, r: _filled(f, floats=np.nan, steps=65535)),
    ('infinite everywhere', (), True, lambda f, r: _filled(f, floats=np.inf, steps=65534)),
    ('minus infinite everywhere', (), True, lambda f, r: _filled(f, floats=-np.inf, steps=1)),
    ('3e38 m everywhere', (), True, lambda f, r: _filled(f, floats=3e38, steps=60000)),
    ('1e-45 m everywhere', (), True, lambda f, r: _filled(f, floats=1e-45, steps=1)),
    ('one pixel', (), True, lambda f, r: _tiny(1, 1, '32FC1')),
    ('one row', (), True, lambda f, r: _tiny(64, 1, '16UC1')),
    ('one column', (), True, lambda f, r: _tiny(1, 48, 'mono16')),
]


# Compressed images. --------------------------------------------------------------------------

def _encoded(extension: str, image: Any, *options: int) -> bytes:
    return bytes(cv2.imencode(extension, image, options)[1].tobytes())


def _picture(rng: Rng, width: int, height: int, *channels: int) -> Any:
    coarse = rng.integers(0, 256, (height // 4, width // 4, *channels)).astype(np.uint8)
    return cv2.resize(coarse, (width, height))


def _jpeg(rng: Rng, width: int, height: int) -> Fields:
    return {'format': 'rgb8; jpeg compressed bgr8',
            'data': _encoded('.jpg', _picture(rng, width, height, 3))}


def _png(rng: Rng, width: int, height: int, *channels: int) -> Fields:
    return {'format': 'bgr8; png compressed bgr8',
            'data': _encoded('.png', _picture(rng, width, height, *(channels or (3,))))}


def _depth_picture(rng: Rng, width: int, height: int) -> Any:
    depth = rng.integers(0, 10_000, (height, width)).astype(np.uint16)
    depth[rng.random(depth.shape) < 0.3] = 0
    return depth


def _depth_png(rng: Rng, width: int, height: int) -> Fields:
    return {'format': '16UC1; compressedDepth png',
            'data': bytes(12) + _encoded('.png', _depth_picture(rng, width, height))}


def _rvl(rng: Rng) -> Fields:
    return {'format': '16UC1; compressedDepth rvl',
            'data': bytes(12) + pack_rvl(_depth_picture(rng, 16, 12))}


def _rvl_sized(width: int, height: int, stream: bytes) -> Fields:
    return {'format': '16UC1; compressedDepth rvl',
            'data': struct.pack('<12xII', width, height) + stream}


def _inverse(data: bytes, a: float, b: float) -> Fields:
    return {'format': '32FC1; compressedDepth png', 'data': struct.pack('<iff', 0, a, b) + data}


def _claiming(data: bytes, width: int, height: int) -> bytes:
    """Return the PNG or JPEG with another size in its header, correct but for that."""
    at = data.find(b'IHDR')
    if at >= 0:
        header = b'IHDR' + struct.pack('>II', width, height) + data[at + 12:at + 17]
        return data[:at] + header + struct.pack('>I', zlib.crc32(header)) + data[at + 21:]
    at = data.index(b'\xff\xc0') + 5
    return data[:at] + struct.pack('>HH', height, width) + data[at + 4:]


def _marked(data: bytes, kind: int) -> bytes:
    return data.replace(b'\xff\xc0', bytes([0xFF, kind]), 1)


def _many_scans(data: bytes, number: int) -> bytes:
    last = data.rindex(b'\xff\xda')
    return data[:last] + data[last:-2] * number + data[-2:]


def _flipped(data: bytes, rng: Rng) -> bytes:
    damaged = bytearray(data)
    for place in rng.integers(0, len(data), rng.integers(1, 6)):
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


_COMPRESSED: list[Case] = [
    ('as it should be', (), True, lambda f, r: {}),
    ('empty', ('bad_data',), False, lambda f, r: {'data': b''}),
    ('cut', ('bad_data',), False,
     lambda f, r: {'data': f['data'][:r.integers(len(f['data']) - 2)]}),
    ('random bytes', ('bad_data',), False, lambda f, r: {'data': b'\1' + r.bytes(300)}),
    ('damaged bytes', _ANY, True, lambda f, r: {'data': _flipped(f['data'], r)}),
    ('60000x60000', ('bad_size',), False,
     lambda f, r: {'data': _claiming(f['data'], 60_000, 60_000)}),
    ('no columns', ('bad_size',), False, lambda f, r: {'data': _claiming(f['data'], 0, 12)}),
    ('no rows', ('bad_size',), False, lambda f, r: {'data': _claiming(f['data'], 16, 0)}),
    ('another codec', ('bad_encoding',), False, lambda f, r: {
        'format': _one_of(r, 'h264', 'webp', 'rgb8; tiff compressed ', 'x' * 5000, 'theora', '🎥'),
        'data': b'\0\0\0\1' + r.bytes(200)}),
]
_COLOUR_COMPRESSED: list[Case] = [
    *_COMPRESSED,
    ('8000x8000 in few bytes', ('bad_data',), False,
     lambda f, r: {'data': _claiming(_jpeg(r, 32, 24)['data'], 8000, 8000)}),
    ('any format', (), True, lambda f, r: {'format': _one_of(
        r, '', 'jpeg', 'png', 'JPEG', 'rgb8; jpeg compressed rgb8', 'mono8; jpeg compressed mono8',
        'x' * 5000, ';;;', 'rgb8', 'ジペグ')}),
    ('zeros behind the end', (), True, lambda f, r: {'data': f['data'] + bytes(500)}),
    ('progressive', (), True, lambda f, r: {'data': _encoded(
        '.jpg', _picture(r, 32, 24, 3), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)}),
    ('grey JPEG', (), True, lambda f, r: {'data': _encoded('.jpg', _picture(r, 32, 24))}),
    ('PNG', (), True, lambda f, r: _png(r, 32, 24)),
    ('PNG with transparency', (), True, lambda f, r: _png(r, 32, 24, 4)),
    ('grey PNG', (), True, lambda f, r: _png(r, 32, 24, 1)),
    ('one pixel', (), True, lambda f, r: {'data': _encoded('.png', np.zeros((1, 1, 3), np.uint8))}),
    ('PNG of 60000x60000', ('bad_size',), False,
     lambda f, r: {'data': _claiming(_png(r, 32, 24)['data'], 60_000, 60_000)}),
    ('cut PNG', ('bad_data',), False,
     lambda f, r: {'data': _png(r, 32, 24)['data'][:r.integers(1000)]}),
    ('damaged PNG', _ANY, True, lambda f, r: {'data': _flipped(_png(r, 32, 24)['data'], r)}),
    ('PNG and noise', _ANY, False, lambda f, r: {'data': b'\x89PNG\r\n\x1a\n' + r.bytes(300)}),
    ('JPEG and noise', _ANY, False, lambda f, r: {'data': b'\xff\xd8\xff' + r.bytes(300)}),
    ('a megabyte of fill bytes', ('bad_data',), False,
     lambda f, r: {'data': b'\xff\xd8' + b'\xff' * 1_000_000}),
    ('a hundred thousand comments', ('bad_data',), False,
     lambda f, r: {'data': b'\xff\xd8' + b'\xff\xfe\0\2' * 100_000}),
    ('a thousand scans', ('bad_data',), False, lambda f, r: {'data': _many_scans(_encoded(
        '.jpg', _picture(r, 32, 24, 3), cv2.IMWRITE_JPEG_PROGRESSIVE, 1), 1000)}),
    ('lossless or arithmetic JPEG', ('bad_encoding',), False,
     lambda f, r: {'data': _marked(f['data'], _one_of(r, 0xC3, 0xC5, 0xC9, 0xCF))}),
    ('PNG of 16 bits', ('bad_encoding',), False, lambda f, r: {'data': _encoded(
        '.png', r.integers(0, 65536, (24, 32, 3)).astype(np.uint16))}),
    ('raw Bayer mosaic', ('bad_encoding',), False,
     lambda f, r: _png(r, 32, 24, 1) | {'format': 'bayer_rggb8; png compressed '}),
    ('depth on the colour topic', ('bad_encoding',), False, lambda f, r: {'format': _one_of(
        r, '16UC1; compressedDepth', '32FC1; compressedDepth png', '16UC1; png compressed ')}),
]
_DEPTH_COMPRESSED: list[Case] = [
    *_COMPRESSED,
    ('8000x8000 in few bytes', ('bad_data',), False,
     lambda f, r: {'data': _claiming(_depth_png(r, 32, 24)['data'], 8000, 8000)}),
    ('any format', (), True, lambda f, r: {'format': _one_of(
        r, '', '16UC1', '16UC1; compressedDepth', 'png', 'mono16; compressedDepth png', ';;;',
        'x' * 5000, '深度')}),
    ('plain PNG', (), True,
     lambda f, r: {'format': '16UC1; png compressed ', 'data': f['data'][12:]}),
    ('a chunk of 2 GB', ('bad_data',), False,
     lambda f, r: {'data': f['data'][:45] + b'\x80' + f['data'][46:]}),
    ('NaN in an unused header', (), True,
     lambda f, r: {'data': struct.pack('<iff', -1, np.nan, np.inf) + f['data'][12:]}),
    ('inverse depth', (), True, lambda f, r: _inverse(f['data'][12:], 10100.0, -1009.0)),
    ('inverse depth with a pole', (), True, lambda f, r: _inverse(f['data'][12:], 1e38, 5000.0)),
    ('impossible quantisation', ('bad_data',), False, lambda f, r: _inverse(
        f['data'][12:], *_one_of(r, (np.nan, 0), (np.inf, 0), (0, 0), (-1, 0), (1, np.nan)))),
    ('inverse depth without header', ('bad_data',), False,
     lambda f, r: {'format': '32FC1; compressedDepth', 'data': f['data'][12:]}),
    ('RVL', (), True, lambda f, r: _rvl(r)),
    ('RVL, nothing measured', (), True,
     lambda f, r: {'format': '16UC1; compressedDepth rvl',
                   'data': bytes(12) + pack_rvl(np.zeros((48, 64), np.uint16))}),
    ('RVL, cut', ('bad_data',), False,
     lambda f, r: {'format': (whole := _rvl(r))['format'],
                   'data': whole['data'][:r.integers(len(whole['data']) // 2)]}),
    ('RVL, damaged', _ANY, True,
     lambda f, r: (whole := _rvl(r)) | {'data': _flipped(whole['data'], r)}),
    ('RVL, noise', ('bad_data',), True, lambda f, r: _rvl_sized(64, 48, r.bytes(2000))),
    ('RVL, endless runs of nothing', ('bad_data',), False,
     lambda f, r: _rvl_sized(64, 48, bytes(10_000))),
    ('RVL of 60000x60000', ('bad_size',), False,
     lambda f, r: _rvl_sized(60_000, 60_000, r.bytes(100))),
    ('RVL of nothing', ('bad_size',), False, lambda f, r: _rvl_sized(0, 12, r.bytes(100))),
    ('PNG of 8 bits', ('bad_encoding',), False,
     lambda f, r: {'data': bytes(12) + _encoded('.png', _picture(r, 32, 24))}),
    ('JPEG', ('bad_encoding',), False, lambda f, r: _jpeg(r, 32, 24) | {
        'format': _one_of(r, 'jpeg', '', '16UC1; jpeg compressed mono8')}),
    ('colour on the depth topic', ('bad_encoding',), False,
     lambda f, r: {'format': _one_of(r, 'rgb8; jpeg compressed bgr8', 'bgr8; png compressed')}),
]


# Calibrations. -------------------------------------------------------------------------------

def _camera_info(rng: Rng, width: int, height: int) -> Fields:
    f, cx, cy = float(width), width / 2 - 0.5, height / 2 - 0.5
    return {'width': width, 'height': height, 'distortion_model': 'plumb_bob', 'd': [0.0] * 5,
            'k': np.array([f, 0, cx, 0, f, cy, 0, 0, 1]), 'r': np.eye(3).ravel(),
            'p': np.array([f, 0, cx, 0, 0, f, cy, 0, 0, 0, 1, 0]), 'binning_x': 0, 'binning_y': 0,
            'roi': {'x_offset': 0, 'y_offset': 0, 'width': 0, 'height': 0, 'do_rectify': False}}


def _k(fields: Fields, place: int, value: float) -> Fields:
    k = fields['k'].copy()
    k[place] = value
    return {'k': k}


_BAD_INFO = ('bad_camera_info',)
_CAMERA_INFO: list[Case] = [
    ('as it should be', (), True, lambda f, r: {}),
    ('not calibrated', _BAD_INFO, False, lambda f, r: {'k': np.zeros(9), 'p': np.zeros(12)}),
    ('NaN everywhere', _BAD_INFO, False, lambda f, r: {'k': np.full(9, np.nan)}),
    ('infinite focal length', _BAD_INFO, False, lambda f, r: _k(f, 0, np.inf)),
    ('negative focal length', _BAD_INFO, False, lambda f, r: _k(f, 4, -500.0)),
    ('no pixels', _BAD_INFO, False, lambda f, r: {'width': 0, 'height': 0}),
    ('2^32-1 pixels each way', _BAD_INFO, False, lambda f, r: {'width': _MOST, 'height': _MOST}),
    ('unknown lens', _BAD_INFO, False, lambda f, r: {
        'distortion_model': _one_of(r, 'fish', '鱼眼', 'x' * 5000), 'd': [0.1] * 5}),
    ('NaN lens', _BAD_INFO, False, lambda f, r: {'d': [np.nan] * 5}),
    ('a thousand coefficients', _BAD_INFO, False, lambda f, r: {'d': [0.1] * 1000}),
    ('region outside the image', _BAD_INFO, False, lambda f, r: {
        'roi': f['roi'] | {'x_offset': _MOST, 'width': _MOST, 'height': 1}}),
    ('binned to nothing', _BAD_INFO, False, lambda f, r: {'binning_x': _MOST}),
]
_KINDS: list[tuple[str, Callable[[Rng, int, int], Fields], list[Case]]] = [
    (COLOUR, _raw_colour, _RAW_COLOUR), (DEPTH, _raw_depth, _RAW_DEPTH),
    (COLOUR_COMPRESSED, _jpeg, _COLOUR_COMPRESSED),
    (DEPTH_COMPRESSED, _depth_png, _DEPTH_COMPRESSED), (CAMERA_INFO, _camera_info, _CAMERA_INFO)]
