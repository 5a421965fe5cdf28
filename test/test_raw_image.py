# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Image messages read from their bytes: the same fields as rclpy reads, or a reason."""

import struct
from array import array

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from diffpixel_core.messages import MessageError, check_colour, decode_colour  # noqa: E402
from diffpixel_ros.raw_image import (  # noqa: E402
    RawImage,
    read_compressed_image,
    read_image,
)

FRAMES = ('', 'a', 'ab', 'abc', 'camera_color_optical_frame', 'カメラ', 'x' * 5000)
ENCODINGS = ('', 'rgb8', 'mono16', '16UC1', 'yuv422_yuy2')


def an_image(frame: str = 'camera', encoding: str = 'rgb8', height: int = 3,
             width: int = 5) -> Image:
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=1, step=3 * width,
                    data=array('B', np.random.default_rng(0).bytes(3 * width * height)))
    message.header.frame_id = frame
    message.header.stamp.sec, message.header.stamp.nanosec = -7, 999_999_999
    return message


@pytest.mark.parametrize('frame', FRAMES)
@pytest.mark.parametrize('encoding', ENCODINGS)
def test_fields_are_those_rclpy_reads(frame: str, encoding: str) -> None:
    raw = serialize_message(an_image(frame, encoding))
    ours, theirs = read_image(raw), deserialize_message(raw, Image)
    for name in ('header', 'height', 'width', 'encoding', 'is_bigendian', 'step'):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert bytes(ours.data) == theirs.data.tobytes()


@pytest.mark.parametrize('frame', FRAMES)
@pytest.mark.parametrize('kind', ['', 'jpeg', '16UC1; compressedDepth png'])
def test_compressed_fields_are_those_rclpy_reads(frame: str, kind: str) -> None:
    message = CompressedImage(format=kind, data=array('B', b'\xff\xd8\xff'))
    message.header.frame_id = frame
    raw = serialize_message(message)
    ours, theirs = read_compressed_image(raw), deserialize_message(raw, CompressedImage)
    assert (ours.header, ours.format) == (theirs.header, theirs.format)
    assert bytes(ours.data) == theirs.data.tobytes()


def test_pixels_are_not_copied_on_the_way_to_the_decoder() -> None:
    raw = serialize_message(an_image())
    message = read_image(raw)
    check_colour(message)
    assert np.shares_memory(np.frombuffer(message.data, np.uint8), np.frombuffer(raw, np.uint8))
    assert np.shares_memory(decode_colour(message), np.frombuffer(raw, np.uint8))


def big_endian(message: Image) -> bytes:
    """Return the message as a big-endian machine would send it."""
    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    def text(value: str) -> bytes:
        return struct.pack('>I', len(value) + 1) + value.encode() + b'\0'

    stamp = message.header.stamp
    body = padded(struct.pack('>iI', stamp.sec, stamp.nanosec) + text(message.header.frame_id))
    body += struct.pack('>II', message.height, message.width) + text(message.encoding)
    body = padded(body + bytes([message.is_bigendian]))
    return bytes(4) + body + struct.pack('>II', message.step, len(message.data)) \
        + message.data.tobytes()


@pytest.mark.parametrize('frame', FRAMES[:5])
def test_big_endian_senders_are_understood(frame: str) -> None:
    message = an_image(frame)
    ours = read_image(big_endian(message))
    assert (ours.header, ours.height, ours.width) == (message.header, 3, 5)
    assert (ours.encoding, ours.is_bigendian, ours.step) == ('rgb8', 1, 15)
    assert bytes(ours.data) == message.data.tobytes()


def test_message_cut_anywhere_is_refused() -> None:
    for message, read in ((an_image(), read_image),
                          (CompressedImage(format='jpeg', data=array('B', b'1234')),
                           read_compressed_image)):
        raw = serialize_message(message)
        end = len(raw)
        while not raw[end - 1]:  # rclpy pads the end, which nobody reads
            end -= 1
        for size in range(end):
            with pytest.raises(MessageError) as caught:
                read(raw[:size])
            assert caught.value.cause == 'bad_data'


def test_any_bytes_give_a_message_or_bad_data() -> None:
    rng = np.random.default_rng(1)
    raw = bytearray(serialize_message(an_image()))
    read, causes = 0, set()
    for _ in range(3000):
        damaged = bytearray(raw)
        for place in rng.integers(0, 60, 3):
            damaged[place] = rng.integers(256)
        for data in (bytes(damaged), bytes(4) + rng.bytes(40), b'\0\1\0\0' + rng.bytes(40)):
            try:
                message = read_image(data)
            except MessageError as error:
                causes.add(error.cause)
            else:
                read += 1
                assert isinstance(message, RawImage)
                assert len(message.data) <= len(data)
                message.encoding.encode()  # so that it can be logged and published
                message.header.frame_id.encode()
    assert causes == {'bad_data'}
    assert read > 100, 'some damage leaves a message'
