# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Where the truth of a frame comes from: a topic of the bag, or a folder of label images.

The truth of a frame is the label image of the same stamp, else the nearest one within the
tolerance.
"""

from bisect import bisect_left
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.image_folder import read_label
from diffpixel_core.labels import LABEL_ENCODINGS, LabelError, decode_labels
from diffpixel_core.messages import MessageError, stamp_ns
from diffpixel_core.replay.settings import ReplayError

# What the encodings of integer images mean, beside those in which labels are published.
_DTYPES = {name: np.dtype(kind) for name, (kind, _) in LABEL_ENCODINGS.items()} | {
    '8UC1': np.dtype('u1'), '8SC1': np.dtype('i1'), 'mono16': np.dtype('u2'),
    '32UC1': np.dtype('u4')}
_FIRST_STAMP_NS = 10**15  # file names from here on are stamps (1970-01-12), below numbers of frames

_MOST_WAITING = 200  # label images of frames that never come out must not pile up

_Labels = npt.NDArray[np.uint8]


class Truth(Protocol):
    """What a scorer asks for the truth."""

    count: int  # label images there are
    where: str  # topic or folder, for messages to the user
    heard: int  # label images that have come so far

    def settled(self, stamp_ns: int, heard: int) -> bool:
        """Tell whether no label image to come can be the truth of a frame.

        Args:
            stamp_ns: Capture time of the frame.
            heard: What `heard` was when the frame came.
        """

    def take(self, stamp_ns: int, place: int) -> _Labels | None:
        """Return `(H, W)` uint8 labels of the truth's own space, 255 = unlabelled; None without.

        Args:
            stamp_ns: Capture time of the frame.
            place: How many colour images the bag has before it.

        Raises:
            MessageError: If its label image cannot be read.
        """


class TopicTruth:
    """Label images that arrive as messages, in any order relative to the frames.

    Args:
        where: The topic.
        count: How many messages it has.
        tolerance_ns: Largest stamp difference between a frame and its truth.
    """

    def __init__(self, where: str, count: int, tolerance_ns: int) -> None:
        self.where = where
        self.count = count
        self._tolerance_ns = tolerance_ns
        self._waiting: dict[int, Any] = {}
        self._newest_ns = -1
        self.heard = 0

    def add(self, message: Any) -> None:
        """Take an Image or CompressedImage message; it is decoded when it is needed."""
        stamp = stamp_ns(message)
        self.heard += 1
        self._newest_ns = stamp
        self._waiting.pop(stamp, None)  # of an earlier pass through the same recording
        self._waiting[stamp] = message
        if len(self._waiting) > _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]

    def settled(self, stamp_ns: int, heard: int) -> bool:
        """Tell whether no label image to come can be the truth of a frame."""
        # Only one that came after the frame counts as later: stamps start over in a looped bag.
        return stamp_ns in self._waiting or (
            self.heard > heard and self._newest_ns > stamp_ns + self._tolerance_ns)

    def take(self, stamp_ns: int, place: int) -> _Labels | None:
        """Return the labels of a frame; older ones are let go, so ask in order of time."""
        found = _nearest(sorted(self._waiting), stamp_ns, self._tolerance_ns)
        message = None if found is None else self._waiting.pop(found)
        for stamp in [stamp for stamp in self._waiting if stamp < stamp_ns]:
            del self._waiting[stamp]
        return None if message is None else label_image(message)


class FolderTruth:
    """A folder of 8-bit PNG label images, named by stamp in nanoseconds or in order of the frames.

    Files named `*.label.png` are taken where there are any, as in folders of `diffpixel synth`.

    Args:
        folder: The folder.
        frames: How many colour images the bag has.
        tolerance_ns: Largest stamp difference between a frame and its truth.

    Raises:
        ReplayError: If there is no such folder, nothing in it, or files named in order are not
            exactly as many as the colour images.
    """

    def __init__(self, folder: Path, frames: int, tolerance_ns: int) -> None:
        self.where = str(folder)
        self._tolerance_ns = tolerance_ns
        if not folder.is_dir():
            raise ReplayError(f'truth folder {folder} does not exist; give a folder of PNG label '
                              'images, or a label topic of the bag')
        files = sorted(folder.glob('*.label.png')) or sorted(folder.glob('*-label.png')) \
            or sorted(folder.glob('*.png'))
        names = [file.name.partition('.')[0].removesuffix('-label') for file in files]
        self.count = self.heard = len(files)
        numbers = [int(name) if name.isdecimal() else -1 for name in names]
        self._by_stamp: dict[int, Path] = {}
        self._in_order: list[Path] = []
        if not files:
            raise ReplayError(f'truth folder {folder} holds no PNG image; name them by stamp in '
                              'nanoseconds, or in order of the colour images')
        if min(numbers) >= _FIRST_STAMP_NS:
            self._by_stamp = dict(zip(numbers, files, strict=True))
            self._stamps = sorted(self._by_stamp)
            return
        if len(files) != frames:
            raise ReplayError(f'truth folder {folder} holds {len(files)} label images but the bag '
                              f'{frames} colour images; images named in order must be exactly as '
                              'many, others must be named by stamp in nanoseconds')
        self._in_order = [files[i] for i in sorted(
            range(len(files)), key=lambda i: (numbers[i], len(names[i]), names[i]))]

    def settled(self, stamp_ns: int, heard: int) -> bool:
        """Return True: all files are there."""
        return True

    def take(self, stamp_ns: int, place: int) -> _Labels | None:
        """Return the labels of a frame."""
        if self._in_order:
            return read_label(self._in_order[place])
        found = _nearest(self._stamps, stamp_ns, self._tolerance_ns)
        return None if found is None else read_label(self._by_stamp[found])


def label_image(message: Any) -> _Labels:
    """Return `(H, W)` uint8 labels of a message, 255 = unlabelled.

    Args:
        message: An Image of integers of any width and byte order, or a CompressedImage that is a
            PNG of one channel.

    Raises:
        MessageError: If it is something else, or damaged.
    """
    if message.__msgtype__ == 'sensor_msgs/msg/CompressedImage':
        pixels = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.ndim != 2 or 'jpeg' in message.format or \
                'jpg' in message.format:
            raise MessageError('bad_data', f'truth is a compressed image ({message.format!r}) that '
                               'holds no exact labels; use PNG with one channel')
    else:
        dtype = _DTYPES.get(message.encoding)
        if dtype is None:
            raise MessageError('bad_encoding', f'truth has encoding {message.encoding!r}; labels '
                               f'are integers: {", ".join(_DTYPES)}')
        height, width, step = message.height, message.width, message.step
        data = np.asarray(message.data, np.uint8)
        row = width * dtype.itemsize
        if not height or not width or step < row or data.size < step * (height - 1) + row:
            raise MessageError('bad_size', f'truth {width}x{height} {message.encoding} has step '
                               f'{step} and {data.size} bytes, which does not fit')
        order = dtype.newbyteorder('>' if message.is_bigendian else '<')
        pixels = np.ndarray((height, width), order, data, strides=(step, dtype.itemsize))
    try:
        return decode_labels(pixels)
    except LabelError as error:
        raise MessageError('bad_encoding', f'truth: {error}') from error


def _nearest(stamps: list[int], stamp_ns: int, tolerance_ns: int) -> int | None:
    """Return the stamp nearest to one, of a sorted list; None if none is near enough."""
    place = bisect_left(stamps, stamp_ns)
    around = stamps[max(place - 1, 0): place + 1]
    found = min(around, key=lambda stamp: abs(stamp - stamp_ns), default=None)
    return found if found is not None and abs(found - stamp_ns) <= tolerance_ns else None
