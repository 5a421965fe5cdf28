# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Judge the frames of a replay one after the other: truth, flicker, worst pictures, latency.

A frame waits until its truth and its camera pose have been read from the bag, at most a second of
recording; so memory stays flat however long a bag is.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.camera_info import LensCamera, camera_from_info
from diffpixel_core.geometry import CameraError
from diffpixel_core.image_folder import ImageFolderError
from diffpixel_core.label_map import LabelMap
from diffpixel_core.labels import UNLABELLED, LabelError, LabelSpace, load_label_space, mapping
from diffpixel_core.messages import MessageError
from diffpixel_core.metrics import ConfusionMatrix
from diffpixel_core.replay.flicker import FlickerMeter, View
from diffpixel_core.replay.pictures import WorstFrames
from diffpixel_core.replay.poses import PoseTrack
from diffpixel_core.replay.tally import FrameRow, Tally
from diffpixel_core.replay.truth import Truth

_PATIENCE_NS = 1_000_000_000  # of the recording: truth and transforms come later than the images
_LEAST_LABELLED = 0.02  # of a frame; a score of fewer pixels says nothing about the frame

_U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A frame and what came out of it.

    Attributes:
        stamp_ns: Capture time of the colour image.
        frame_id: Optical frame of the colour image.
        place: How many colour images the bag has before it.
        rgb: `(H, W, 3)` uint8.
        depth_m: `(H, W)` float32 metres, 0 = not measured.
        labels: `(H, W)` uint8, 255 = unlabelled.
        confidence: `(H, W)` uint8, 255 = certain.
        ms: Milliseconds by stage; `total` must be there.
    """

    stamp_ns: int
    frame_id: str
    place: int
    rgb: _U8
    depth_m: npt.NDArray[np.float32]
    labels: _U8
    confidence: _U8
    ms: Mapping[str, float]


class _Waiting(NamedTuple):
    """A frame, until when it waits, and how many label images had come before it."""

    outcome: Outcome
    last_ns: int
    heard: int


class Scorer:
    """Fills a tally from the frames that came out of a replay, given in order.

    Args:
        tally: What to fill; its `bag_s` must be known.
        truth: Where the truth is; None without.
        truth_space: Label space of the truth.
        model_space: Label space the network predicts.
        label_map: From the network's classes to those of the outcomes.
        pictures: How many of the worst frames to keep.
    """

    def __init__(self, tally: Tally, *, truth: Truth | None, truth_space: str,
                 model_space: LabelSpace, label_map: LabelMap, pictures: int = 8) -> None:
        self._tally = tally
        self._truth = truth
        self._table: _U8 | None = None
        self._poses = PoseTrack()
        self._camera: LensCamera | None = None
        self._meter = FlickerMeter(tally.flicker)
        self._worst = WorstFrames(tally.bag, pictures, tally.bag_s)
        self._waiting: deque[_Waiting] = deque()
        self._space = load_label_space(truth_space)
        self._beyond = self._labelled = 0  # pixels of truth beyond its space, and all not 255
        self._refused = 0  # truth images that could not be used
        self._first_fault = ''
        if truth is not None:
            tally.truth_in = truth.count
            try:
                table = mapping(load_label_space(truth_space), model_space)
                self._table = np.asarray(cv2.LUT(table, label_map.table), np.uint8).ravel()
            except LabelError as error:
                self._note(f'nothing is scored: {error}')

    def add(self, outcome: Outcome, now_ns: int) -> None:
        """Take a frame; `now_ns` is the time of the recording at which it came out."""
        heard = 0 if self._truth is None else self._truth.heard
        self._waiting.append(_Waiting(outcome, now_ns + _PATIENCE_NS, heard))
        self.tick(now_ns)

    def add_tf(self, message: Any, *, static: bool) -> None:
        """Take a message of `/tf` or `/tf_static`."""
        self._poses.add(message, static=static)

    def add_info(self, message: Any) -> None:
        """Take a CameraInfo of the colour camera; without a usable one, poses are of no use."""
        try:
            self._camera = camera_from_info(message)
        except CameraError as error:
            self._camera = None
            self._note(f'flicker is not judged by poses: {error}')

    def tick(self, now_ns: int) -> None:
        """Judge the frames that need not wait any longer at this time of the recording."""
        while self._waiting:
            waiting = self._waiting[0]
            # A clock that went back is a recording that starts over.
            due = now_ns >= waiting.last_ns or now_ns < waiting.last_ns - 2 * _PATIENCE_NS
            if not due and not self._settled(waiting):
                return
            self._waiting.popleft()
            self._judge(waiting.outcome)

    def finish(self) -> None:
        """Judge what still waits; complete the tally."""
        for waiting in self._waiting:
            self._judge(waiting.outcome)
        self._waiting.clear()
        self._tally.pictures = self._worst.worst()
        if self._beyond:
            self._note(f'labels above {len(self._space) - 1} in {self._space.name} count as '
                       f'unlabelled: {100 * self._beyond / self._labelled:.1f} % of the labelled '
                       'pixels of the truth; is --truth-space right?')
        if self._refused:
            self._note(f'{self._refused} truth images were not scored, the first because '
                       f'{self._first_fault}')
        if self._truth is not None and self._table is not None and self._tally.frames_out \
                and not self._tally.scored and not self._refused and not self._labelled:
            self._note(f'no frame was scored: none of the {self._truth.count} label images of '
                       f'{self._truth.where} has the stamp of a frame that came out')

    def _settled(self, waiting: '_Waiting') -> bool:
        outcome = waiting.outcome
        return (self._truth is None or self._truth.settled(outcome.stamp_ns, waiting.heard)) \
            and (self._camera is None
                 or self._poses.settled(outcome.frame_id, outcome.stamp_ns))

    def _judge(self, outcome: Outcome) -> None:
        tally = self._tally
        truth = self._truth_of(outcome)
        accuracy = miou = None
        if truth is not None:
            score = ConfusionMatrix(len(tally.label_space))
            score.update(truth, outcome.labels)
            tally.confusion = score.counts if tally.confusion is None \
                else tally.confusion + score.counts
            tally.scored += 1
            if score.pixels >= _LEAST_LABELLED * truth.size:
                accuracy, miou = score.pixel_accuracy, score.miou
        pose = None if self._camera is None \
            else self._poses.pose(outcome.frame_id, outcome.stamp_ns)
        flicker = self._meter.add(View(outcome.rgb, outcome.depth_m, outcome.labels, pose,
                                       self._camera))
        row = FrameRow(outcome.stamp_ns, outcome.ms['total'],
                       float(outcome.confidence.mean()) / 255.0, accuracy, miou, flicker)
        tally.frames_out += 1
        tally.frames.append(row)
        tally.add_latency(outcome.ms)
        self._worst.offer(row, place=outcome.place, rgb=outcome.rgb, depth_m=outcome.depth_m,
                          labels=outcome.labels, confidence=outcome.confidence, truth=truth)

    def _truth_of(self, outcome: Outcome) -> _U8 | None:
        """Return the truth in the label space of the outcome, all that is no class 255."""
        if self._truth is None or self._table is None:
            return None
        try:
            truth = self._truth.take(outcome.stamp_ns, outcome.place)
        except (MessageError, ImageFolderError) as error:
            self._refuse(str(error))
            return None
        if truth is None:
            return None
        if truth.shape != outcome.labels.shape:
            self._refuse(
                f'it has {truth.shape[1]}x{truth.shape[0]} pixels and the colour image '
                f'{outcome.labels.shape[1]}x{outcome.labels.shape[0]}; sizes must be equal')
            return None
        labelled = truth != UNLABELLED
        self._labelled += int(np.count_nonzero(labelled))
        self._beyond += int(np.count_nonzero(labelled & (truth >= len(self._space))))
        truth = np.asarray(cv2.LUT(truth, self._table), np.uint8)
        return truth if (truth != UNLABELLED).any() else None

    def _refuse(self, fault: str) -> None:
        self._refused += 1
        self._first_fault = self._first_fault or fault

    def _note(self, text: str) -> None:
        if text not in self._tally.notes:
            self._tally.notes.append(text)
