# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever a message holds, it is decoded or refused by name: ten thousand hostile ones."""

from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import pytest

from diffpixel_core.camera_info import camera_from_info
from diffpixel_core.codecs import COLOUR_CODECS, DEPTH_CODECS
from diffpixel_core.geometry import CameraError
from diffpixel_core.messages import MessageError, stamp_ns
from hostile import (
    CAMERA_INFO,
    COLOUR,
    COLOUR_COMPRESSED,
    DEPTH,
    DEPTH_COMPRESSED,
    Hostile,
    hostile,
)

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
CODECS: dict[str, Any] = {
    COLOUR: COLOUR_CODECS[IMAGE], COLOUR_COMPRESSED: COLOUR_CODECS[COMPRESSED],
    DEPTH: DEPTH_CODECS[IMAGE], DEPTH_COMPRESSED: DEPTH_CODECS[COMPRESSED]}
SEED, NUMBER = 4, 10_000


def read(item: Hostile) -> None:
    """Decode a message, as the node does, and check what comes out."""
    message = item.plain()
    stamp_ns(message)
    if item.kind == CAMERA_INFO:
        camera_from_info(message)
        return
    size = CODECS[item.kind].check(message)
    if item.kind in (COLOUR, COLOUR_COMPRESSED):
        rgb = CODECS[item.kind].decode(message)
        assert (rgb.shape, rgb.dtype) == ((*size, 3), np.uint8)
    else:
        depth_m = CODECS[item.kind].decode(message, 0.001)
        assert (depth_m.shape, depth_m.dtype) == (size, np.float32)
        assert (np.isfinite(depth_m) & (depth_m >= 0)).all()


def refusal(item: Hostile) -> tuple[str, str]:
    """Return cause and text of a refusal, empty if the message is taken."""
    try:
        read(item)
    except MessageError as error:
        return error.cause, str(error)
    except CameraError as error:
        return 'bad_camera_info', str(error)
    return '', ''


@pytest.fixture(scope='module')
def items() -> list[Hostile]:
    return list(islice(hostile(SEED), NUMBER))


def test_every_hostile_message_is_decoded_or_refused_by_name(items: list[Hostile]) -> None:
    counts: Counter[str] = Counter()
    for item in items:
        cause, text = refusal(item)
        counts[cause] += 1
        assert cause in item.causes if cause else item.legal, (item.kind, item.what, text)
        assert '\n' not in text, 'one line for the log'
        if cause != 'bad_camera_info':
            assert len(text) < 500, 'a message must not fill the log'
    assert counts.keys() == {'', 'bad_encoding', 'bad_size', 'bad_data', 'bad_camera_info'}


def test_hostile_messages_are_the_same_for_a_seed(items: list[Hostile]) -> None:
    again = list(islice(hostile(SEED), 200))
    assert [(a.what, a.sec, a.frame_id, a.fields.get('data')) for a in again] == [
        (b.what, b.sec, b.frame_id, b.fields.get('data')) for b in items[:200]]
    assert [a.what for a in again] != [b.what for b in islice(hostile(SEED + 1), 200)]


def test_hostile_messages_can_be_published(items: list[Hostile]) -> None:
    pytest.importorskip('sensor_msgs.msg')
    serialization = pytest.importorskip('rclpy.serialization')
    for item in items[:1000]:
        assert len(serialization.serialize_message(item.message())) > len(
            item.fields.get('data', b''))


def test_both_types_of_message_can_be_read_by_their_name() -> None:
    assert COLOUR_CODECS.keys() == DEPTH_CODECS.keys() == {IMAGE, COMPRESSED}
