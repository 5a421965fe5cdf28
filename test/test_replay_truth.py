# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Each frame gets the truth of its own moment, from whatever holds it, or none."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__CompressedImage as CompressedImage
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__Image as Image

from diffpixel_core.bags import message_header
from diffpixel_core.messages import MessageError
from diffpixel_core.replay.settings import ReplayError
from diffpixel_core.replay.truth import FolderTruth, TopicTruth, label_image

LABELS = np.array([[0, 1, 2, 39], [255, 12, 0, 3]], np.uint8)
MS = 1_000_000


def image(pixels: npt.NDArray[Any], encoding: str, *, stamp_ns: int = 0, padding: int = 0,
          big_endian: bool = False) -> Image:
    """Return a label message, rows padded and bytes swapped if asked for."""
    values = pixels.astype(pixels.dtype.newbyteorder('>' if big_endian else '<'))
    rows = np.frombuffer(values.tobytes(), np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return Image(message_header(stamp_ns, 'camera'), *pixels.shape, encoding, int(big_endian),
                 rows.shape[1], rows.ravel())


def marked(stamp_ns: int) -> Image:
    """Return a label image that tells its own stamp in milliseconds."""
    return image(np.full((1, 1), stamp_ns // MS, np.uint8), 'mono8', stamp_ns=stamp_ns)


@pytest.mark.parametrize(('encoding', 'dtype', 'unlabelled'), [
    ('mono8', 'u1', 255), ('8UC1', 'u1', 255), ('8SC1', 'i1', -1), ('16UC1', 'u2', 65535),
    ('mono16', 'u2', 65535), ('16SC1', 'i2', -1), ('32SC1', 'i4', -1), ('32UC1', 'u4', 2**32 - 1)])
@pytest.mark.parametrize('big_endian', [False, True])
def test_every_integer_encoding_says_the_same(encoding: str, dtype: str, unlabelled: int,
                                              big_endian: bool) -> None:
    wide = LABELS.astype(np.int64)
    wide[LABELS == 255] = unlabelled
    for padding in (0, 5):
        message = image(wide.astype(dtype), encoding, padding=padding, big_endian=big_endian)
        np.testing.assert_array_equal(label_image(message), LABELS)


def test_png_labels_are_exact_and_jpeg_ones_refused() -> None:
    header = message_header(0, '')
    _, png = cv2.imencode('.png', LABELS)
    np.testing.assert_array_equal(
        label_image(CompressedImage(header, 'mono8; png compressed', png.ravel())), LABELS)
    _, jpeg = cv2.imencode('.jpg', LABELS)
    with pytest.raises(MessageError, match='no exact labels'):
        label_image(CompressedImage(header, 'mono8; jpeg compressed', jpeg.ravel()))


@pytest.mark.parametrize('change', [
    {'encoding': 'rgb8'}, {'encoding': '32FC1'}, {'step': 3}, {'height': 9}, {'width': 0}])
def test_what_cannot_be_labels_is_refused(change: dict[str, Any]) -> None:
    message = image(LABELS, 'mono8')
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(MessageError):
        label_image(message)


def test_the_equal_stamp_wins_then_the_nearest_within_the_tolerance() -> None:
    truth = TopicTruth('/t', 4, 10 * MS)
    for stamp in (100, 104, 140, 190):
        truth.add(marked(stamp * MS))
    assert [found if found is None else int(found[0, 0]) for found in
            (truth.take(stamp * MS, 0) for stamp in (104, 133, 151, 181))] == [104, 140, None, 190]


def test_a_frame_waits_for_its_truth_but_not_for_one_that_cannot_come() -> None:
    truth = TopicTruth('/t', 3, 10 * MS)
    assert not truth.settled(100 * MS, truth.heard)
    truth.add(marked(105 * MS))
    assert not truth.settled(100 * MS, 0)  # 100 itself may still come
    assert truth.settled(105 * MS, 0)
    truth.add(marked(140 * MS))
    assert truth.settled(100 * MS, 0)
    assert not truth.settled(100 * MS, truth.heard), 'a second pass has its own truth to come'


def test_truth_that_no_frame_asks_for_does_not_pile_up() -> None:
    truth = TopicTruth('/t', 1000, 10 * MS)
    for stamp in range(1000):
        truth.add(image(LABELS, 'mono8', stamp_ns=stamp * 33 * MS))
    assert len(truth._waiting) <= 200


def folder(path: Path, names: list[str]) -> Path:
    """Write label images that hold the number of their place."""
    path.mkdir()
    for place, name in enumerate(names):
        cv2.imwrite(str(path / name), np.full((2, 3), place, np.uint8))
    return path


def test_a_folder_named_by_stamp_is_matched_by_stamp(tmp_path: Path) -> None:
    start = 1_700_000_000_000_000_000
    truth = FolderTruth(folder(tmp_path / 't', [f'{start}.png', f'{start + 33 * MS}.png']), 99,
                        10 * MS)
    assert truth.count == 2
    assert int(truth.take(start + 33 * MS, 0)[0, 0]) == 1  # type: ignore[index]
    assert int(truth.take(start + 40 * MS, 0)[0, 0]) == 1  # type: ignore[index]
    assert truth.take(start + 60 * MS, 0) is None


@pytest.mark.parametrize('names', [
    ['2.png', '10.png', '100.png'], ['frame2.png', 'frame3.png', 'frame10.png'],
    ['000001.label.png', '000002.label.png', '000003.label.png']])
def test_a_folder_in_order_is_matched_by_place(tmp_path: Path, names: list[str]) -> None:
    path = folder(tmp_path / 't', names)
    if '.label' in names[0]:  # colour images may lie beside them
        cv2.imwrite(str(path / '000001.color.png'), np.zeros((2, 3, 3), np.uint8))
    truth = FolderTruth(path, 3, 0)
    assert [int(truth.take(0, place)[0, 0]) for place in (0, 1, 2)] == [0, 1, 2]  # type: ignore[index]


def test_a_folder_in_order_must_have_an_image_for_every_frame(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match='3 label images but the bag 4 colour images'):
        FolderTruth(folder(tmp_path / 't', ['1.png', '2.png', '3.png']), 4, 0)
    with pytest.raises(ReplayError, match='holds no PNG'):
        FolderTruth(folder(tmp_path / 'empty', []), 4, 0)
    with pytest.raises(ReplayError, match='does not exist'):
        FolderTruth(tmp_path / 'nowhere', 4, 0)
