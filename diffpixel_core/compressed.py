# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Compressed image messages to arrays and back, as image_transport's plugins write them.

Works on any object with the fields of `sensor_msgs/CompressedImage`: header, format, data. Sizes
are read from the JPEG or PNG header first: what claims to be larger than any camera's image, or
than its bytes can hold, is never decoded, and no decoder but JPEG's and PNG's is ever reached.
"""

import math
import re
import struct
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.depth import depth_in_metres
from diffpixel_core.messages import (
    COLOUR_ENCODINGS,
    DEPTH_ENCODINGS,
    MILLIMETRE,
    MessageError,
    Stamped,
    check_size,
)
from diffpixel_core.rvl import rvl_size, unpack_rvl

COMPRESSED_DEPTH_16 = '16UC1; compressedDepth png'  # what encode_compressed_depth makes of uint16
COMPRESSED_DEPTH_32 = '32FC1; compressedDepth png'  # and of float32

_SWAPPED = '; are the colour and depth topics swapped?'
_SHOWN = 60  # characters of a foreign format that an error repeats
# `ORIG_PIXFMT; CODEC compressed [COMPRESSED_PIXFMT]`; where the latter is RGB, the publisher gave
# RGB to an encoder that takes BGR, so red and blue are swapped in the file itself.
# Source: sensor_msgs/msg/CompressedImage.msg and compressed_subscriber.cpp.
_STORED_AS_RGB = re.compile(r';\s*(jpeg|png) compressed rgb')

_PNG = b'\x89PNG\r\n\x1a\n'
_DEFLATE_RATIO = 1032  # Source: zlib's technical details: the most that deflate can compress.
_JPEG = b'\xff\xd8\xff'
_JPEG_END = b'\xff\xd9'
_JPEG_SEGMENTS = 256  # more than any camera writes before the picture
# Progressive pictures have about ten scans. libjpeg goes over the whole image for each, so a few
# bytes each would keep it busy for hours.
_JPEG_SCAN, _JPEG_SCANS = b'\xff\xda', 32
# Start of frame: 0-2 baseline to progressive; the others (lossless, arithmetic) libjpeg lacks.
# Source: ITU-T T.81, table B.1.
_SOF, _SOF_FOREIGN, _SOS = range(0xC0, 0xC3), {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}, 0xDA

# int32 kind (0), float32 A, float32 B, as the publisher's machine stores them; then the picture.
# Source: compressed_depth_image_transport/compression_common.h, struct ConfigHeader.
_DEPTH_HEADER = struct.Struct('<iff')
# The plugin's defaults: metres beyond which nothing is kept, and metres at which a step is 1 m.
_DEPTH_MAX_M, _DEPTH_STEP_1M = 10.0, 100.0
_INVERSE = '32FC1'

_U8 = npt.NDArray[np.uint8]
_F4 = npt.NDArray[np.float32]


class CompressedImageMessage(Stamped, Protocol):
    """The fields of `sensor_msgs/CompressedImage` that are used here."""

    format: str
    data: Any


class _Picture(NamedTuple):
    """What the header of a JPEG or PNG says."""

    codec: str  # 'JPEG' or 'PNG'
    height: int
    width: int
    bits: int  # of one value
    grey: bool


class _Depth(NamedTuple):
    """Where the depth is in a message."""

    body: bytes
    rvl: bool
    inverse: tuple[float, float] | None  # A and B of inverse depth
    size: tuple[int, int]


def check_colour(message: CompressedImageMessage) -> tuple[int, int]:
    """Return height and width, or refuse a colour image that cannot be decoded; headers only.

    Raises:
        MessageError: Naming what is wrong and what would be right.
    """
    shown = message.format[:_SHOWN]
    pixels = message.format.split(';')[0].strip()
    is_depth = pixels in DEPTH_ENCODINGS and pixels not in COLOUR_ENCODINGS
    if is_depth or 'compressedDepth' in message.format:
        raise MessageError('bad_encoding', f'colour image has the depth format {shown!r}{_SWAPPED}')
    picture = _read_header(bytes(message.data), message.format, 'colour')
    if picture.bits > 8:
        hint = _SWAPPED if picture.grey else '; let the camera publish 8 bits'
        raise MessageError('bad_encoding', f'colour image is a {picture.codec} of {picture.bits} '
                           f'bits per value (format {shown!r}), it should have 8{hint}')
    if pixels.startswith('bayer') and picture.codec == 'PNG' and picture.grey:
        raise MessageError('bad_encoding', f'colour image is a raw Bayer mosaic (format {shown!r});'
                           ' debayer it (image_proc) or set its compressed format to jpeg')
    return picture.height, picture.width


def check_depth(message: CompressedImageMessage) -> tuple[int, int]:
    """Return height and width, or refuse a depth image that cannot be decoded; headers only.

    Raises:
        MessageError: Naming what is wrong and what would be right.
    """
    return _find_depth(message).size


def decode_colour(message: CompressedImageMessage) -> _U8:
    """Return `(H, W, 3)` uint8 RGB.

    Raises:
        MessageError: If the message cannot be decoded.
    """
    height, width = check_colour(message)
    # As it was taken: a turned picture would no longer fit its depth and its camera_info.
    bgr = _decode(bytes(message.data), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
                  (height, width, 3), 'colour')
    if not _STORED_AS_RGB.search(message.format):
        cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, bgr)
    return np.asarray(bgr, np.uint8)


def decode_depth(message: CompressedImageMessage, *, scale: float = MILLIMETRE) -> _F4:
    """Return `(H, W)` float32 metres; 0 = not measured.

    Args:
        message: compressedDepth (PNG or RVL, of 16UC1 or 32FC1) or a plain 16-bit PNG.
        scale: Metres per step of a 16-bit image.

    Raises:
        MessageError: If the message cannot be decoded.

    Source: `A / (v - B)` for 32FC1: compressed_depth_image_transport/src/codec.cpp.
    """
    depth = _find_depth(message)
    if depth.rvl:
        steps = unpack_rvl(depth.body)
    else:
        steps = _decode(depth.body, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION,
                        depth.size, 'depth')
    if depth.inverse is None:
        depth_m = depth_in_metres(steps, 'mm')
        if scale != MILLIMETRE:
            depth_m *= np.float32(scale / MILLIMETRE)
        return depth_m
    a, b = (np.float32(number) for number in depth.inverse)
    # Infinite and NaN are "not measured", as 0 is.
    with np.errstate(divide='ignore', over='ignore', invalid='ignore'):
        depth_m = a / (steps - b)
        depth_m *= steps != 0
    return depth_in_metres(depth_m, 'm')


def encode_colour(rgb: _U8, *, quality: int = 95) -> tuple[str, bytes]:
    """Return format and data of a message, a JPEG as `compressed_image_transport` writes it.

    Args:
        rgb: `(H, W, 3)` uint8.
        quality: JPEG quality, 1 to 100.
    """
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return 'rgb8; jpeg compressed bgr8', data.tobytes()


def encode_compressed_depth(depth: npt.NDArray[np.uint16] | _F4) -> bytes:
    """Return the data of a message as `compressed_depth_image_transport` writes it, with PNG.

    Args:
        depth: `(H, W)`; uint16 steps are kept as they are (format `COMPRESSED_DEPTH_16`);
            float32 metres (format `COMPRESSED_DEPTH_32`) become inverse depth, in steps of
            0.1 mm at 1 m and 10 mm at 10 m; nearer than 0.16 m and from 10 m on nothing is kept.

    Source: compressed_depth_image_transport/src/codec.cpp, with the defaults of its parameters
    depth_max and depth_quantization.
    """
    a = b = 0.0
    if depth.dtype == np.float32:
        a = _DEPTH_STEP_1M * (_DEPTH_STEP_1M + 1)
        b = 1 - a / _DEPTH_MAX_M
        # Differs from the plugin: what overflows 16 bits is dropped, there it wraps around.
        kept = (depth > a / (np.iinfo(np.uint16).max - b)) & (depth < _DEPTH_MAX_M)
        depth = (kept * (a / np.where(kept, depth, 1) + b)).astype(np.uint16)
    assert depth.dtype == np.uint16
    _, png = cv2.imencode('.png', depth)
    return _DEPTH_HEADER.pack(0, a, b) + png.tobytes()


def _find_depth(message: CompressedImageMessage) -> _Depth:
    data, shown = bytes(message.data), message.format[:_SHOWN]
    pixels, _, codec = (part.strip() for part in message.format.partition(';'))
    if pixels in COLOUR_ENCODINGS and pixels not in DEPTH_ENCODINGS:
        raise MessageError('bad_encoding', f'depth image has the colour format {shown!r}{_SWAPPED}')
    if data.startswith(_JPEG) or re.search('jpe?g', message.format):
        raise MessageError('bad_encoding', f'depth image is a JPEG, which ruins depth (format '
                           f'{shown!r}); use .../compressedDepth instead of .../compressed')
    # A PNG begins with 137, the header with the kind, 0: what is there need not be guessed.
    start = 0 if data.startswith(_PNG) else _DEPTH_HEADER.size
    body = data[start:]
    rvl = 'rvl' in codec
    if rvl:
        size = check_size(*rvl_size(body), 'depth')
    else:
        picture = _read_header(body, message.format, 'depth')
        if picture.bits != 16 or not picture.grey:
            raise MessageError('bad_encoding', f'depth image is a PNG of {picture.bits} bits, '
                               f'{"grey" if picture.grey else "colour"} (format {shown!r}); '
                               f'it should be 16 bits, grey{"" if picture.grey else _SWAPPED}')
        size = picture.height, picture.width
    return _Depth(body, rvl, _inverse_depth(data[:start], shown) if pixels == _INVERSE else None,
                  size)


def _inverse_depth(header: bytes, shown: str) -> tuple[float, float]:
    if len(header) < _DEPTH_HEADER.size:
        raise MessageError('bad_data', f'depth image of format {shown!r} lacks the 12 bytes that '
                           'say how metres were quantised; publish it by image_transport')
    _, a, b = _DEPTH_HEADER.unpack(header)
    if not (0 < a < math.inf and -math.inf < b < math.inf):
        raise MessageError('bad_data', f'depth image is quantised by A={a}, B={b}; A must be '
                           'positive and both finite, the message is damaged')
    return a, b


def _read_header(data: bytes, text: str, name: str) -> _Picture:
    """Return what a JPEG or PNG says about itself; refuse absurd, cut and foreign ones."""
    if data.startswith(_PNG):
        picture, least, whole = _read_png(data, name)
    elif data.startswith(_JPEG):
        picture, least, start = _read_jpeg(data, name)
        whole = data.rfind(_JPEG_END, start) >= 0  # from behind, where it is
    elif re.search('jpe?g|png|compressedDepth', text) or not text:
        raise MessageError('bad_data', f'{name} image of format {text[:_SHOWN]!r} is neither JPEG '
                           f'nor PNG; its {len(data)} bytes begin with {data[:8].hex() or "none"}')
    else:
        supported = 'compressedDepth (png, rvl)' if name == 'depth' else 'jpeg and png'
        raise MessageError('bad_encoding', f'{name} image has format {text[:_SHOWN]!r}, supported: '
                           f'{supported}; set the publisher\'s format')
    check_size(picture.height, picture.width, name)
    if not whole or len(data) < least:
        raise MessageError('bad_data', f'{name} image {picture.width}x{picture.height} is a '
                           f'{picture.codec} of {len(data)} bytes without its end; '
                           'the message was cut')
    return picture


def _read_png(data: bytes, name: str) -> tuple[_Picture, int, bool]:
    """Return size and type of a PNG, its least number of bytes, and whether it has its end.

    Source: the PNG specification, 5.3 chunk layout and 11.2.1 IHDR.
    """
    if len(data) < 33 or data[12:16] != b'IHDR':
        raise MessageError('bad_data', f'{name} image is a PNG without a header; it was cut')
    width, height, bits, kind = struct.unpack_from('>IIBB', data, 16)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(kind)
    if channels is None:
        raise MessageError('bad_data', f'{name} image is a PNG of colour type {kind}, which does '
                           'not exist; the message is damaged')
    unpacked = height * (1 + width * channels * bits // 8)
    # From chunk to chunk: OpenCV 5 allocates and clears what a chunk claims, up to 4 GB.
    place, chunk = 8, b''
    while chunk != b'IEND' and place + 12 <= len(data):
        length, chunk = struct.unpack_from('>I4s', data, place)
        place += 12 + length
    whole = chunk == b'IEND' and place <= len(data)
    return _Picture('PNG', height, width, bits, grey=kind == 0), unpacked // _DEFLATE_RATIO, whole


def _read_jpeg(data: bytes, name: str) -> tuple[_Picture, int, int]:
    """Return size and type of a JPEG, its least number of bytes, and where its scans begin.

    Source: ITU-T T.81, B.1.1 (markers) and B.2.2 (frame header).
    """
    picture, place = None, 2
    for _ in range(_JPEG_SEGMENTS):
        if place + 4 > len(data) or data[place] != 0xFF:
            break
        marker, length = struct.unpack_from('>BH', data, place + 1)
        if marker == 0xFF:  # any number of fill bytes may precede a marker
            place += 1
            continue
        if marker < 0xC0 or 0xD0 <= marker < 0xDA or length < 2:
            break  # not a segment that belongs here
        if marker in _SOF_FOREIGN:
            raise MessageError('bad_encoding', f'{name} image is a JPEG of a kind no camera writes '
                               f'(SOF{marker - 0xC0}); use baseline or progressive')
        if marker in _SOF and place + 10 <= len(data):
            bits, height, width, channels = struct.unpack_from('>BHHB', data, place + 4)
            picture = _Picture('JPEG', height, width, bits, grey=channels == 1)
        place += 2 + length
        if marker == _SOS and picture is not None:
            # Every block of 8x8 values costs a bit at the least.
            return picture, picture.height * picture.width // 512, place
    raise MessageError('bad_data', f'{name} image is a JPEG whose header ends at byte {place}; '
                       'the message is damaged')


def _decode(data: bytes, flags: int, shape: tuple[int, ...], name: str) -> npt.NDArray[Any]:
    scans = data.count(_JPEG_SCAN) if data.startswith(_JPEG) else 1
    if scans > _JPEG_SCANS:
        raise MessageError('bad_data', f'{name} image is a JPEG of {scans} scans, more than '
                           f'{_JPEG_SCANS}; no camera writes that')
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise MessageError('bad_data', f'{name} image of {len(data)} bytes cannot be decoded: '
                           f'{error.err}') from error
    if image is None or image.shape != shape:
        raise MessageError('bad_data', f'{name} image of {len(data)} bytes is damaged: its header '
                           'is sound, its content is not')
    return image
