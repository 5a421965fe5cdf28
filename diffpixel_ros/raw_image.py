# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Image messages straight from their serialised bytes: the header is read, the pixels are not.

rclpy makes a typed message by copying every pixel twice, in the thread that must also take the next
one. Here the data of a message is a view of the bytes that DDS handed over.

Source: OMG DDS-XTypes 1.3, sections 7.4.1 (plain CDR) and 7.6.3.1.2 (encapsulation): four bytes
say the byte order, then the fields follow, each aligned to its size from there; a string or
sequence begins with its length as uint32, a string's counts the final zero.
"""

import struct
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from diffpixel_core.messages import MessageError

_ENCAPSULATION = 4  # bytes; alignment counts from behind them
_BIG, _LITTLE = (0, 6), (1, 7)  # second byte of the encapsulation: CDR and plain CDR2


@dataclass(frozen=True, slots=True, eq=False)
class RawImage:
    """A `sensor_msgs/Image` whose pixels are still the bytes that came."""

    header: Header
    height: int  # pixels
    width: int  # pixels
    encoding: str
    is_bigendian: int
    step: int  # bytes per row
    data: memoryview


@dataclass(frozen=True, slots=True, eq=False)
class RawCompressedImage:
    """A `sensor_msgs/CompressedImage` whose data are still the bytes that came."""

    header: Header
    format: str
    data: memoryview


def read_image(raw: bytes) -> RawImage:
    """Return a serialised `sensor_msgs/Image` as an object with its fields.

    Raises:
        MessageError: `bad_data`, if the bytes are no such message or end too early.
    """
    reader = _Reader(raw, 'image')
    header = reader.header()
    height, width = reader.uint32(), reader.uint32()
    encoding = reader.string()
    is_bigendian = reader.uint8()
    step = reader.uint32()
    return RawImage(header, height, width, encoding, is_bigendian, step, reader.block())


def read_compressed_image(raw: bytes) -> RawCompressedImage:
    """Return a serialised `sensor_msgs/CompressedImage` as an object with its fields.

    Raises:
        MessageError: `bad_data`, if the bytes are no such message or end too early.
    """
    reader = _Reader(raw, 'compressed image')
    return RawCompressedImage(reader.header(), reader.string(), reader.block())


class _Reader:
    """A place in a serialised message that moves on as fields are read."""

    def __init__(self, raw: bytes, name: str) -> None:
        self._raw = memoryview(raw)
        self._name = name
        self._at = _ENCAPSULATION
        kind = tuple(raw[:2])
        if kind not in {(0, order) for order in (*_BIG, *_LITTLE)}:
            raise MessageError('bad_data', f'{name} of {len(raw)} bytes begins with {raw[:4].hex()}'
                               ', not with the mark of plain CDR; the message is damaged')
        order = '<' if kind[1] in _LITTLE else '>'
        self._uint32, self._int32 = struct.Struct(order + 'I'), struct.Struct(order + 'i')

    def header(self) -> Header:
        """Return a `std_msgs/Header`."""
        seconds, nanoseconds = self._number(self._int32), self.uint32()
        return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=self.string())

    def uint8(self) -> int:
        """Return one byte."""
        return self._take(1)[0]

    def uint32(self) -> int:
        """Return an unsigned number of four bytes."""
        return self._number(self._uint32)

    def string(self) -> str:
        """Return a string; bytes that are no UTF-8 are shown as such."""
        block = bytes(self._take(self.uint32()))
        return block.removesuffix(b'\0').decode(errors='backslashreplace')

    def block(self) -> memoryview:
        """Return a sequence of bytes, not copied."""
        return self._take(self.uint32())

    def _number(self, layout: struct.Struct) -> int:
        self._at += -self._at % 4  # four bytes of encapsulation keep the alignment
        return int(layout.unpack(self._take(4))[0])

    def _take(self, size: int) -> memoryview:
        part = self._raw[self._at:self._at + size]
        if len(part) != size:
            raise MessageError('bad_data', f'{self._name} ends after {len(self._raw)} bytes, its '
                               f'fields need at least {self._at + size}; the message was cut')
        self._at += size
        return part
