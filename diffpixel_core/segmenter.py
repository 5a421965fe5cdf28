# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Segmenter: a Frame goes in, labels and confidence come out. The only thing outsiders call."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from diffpixel_core.frame import Frame, FrameError
from diffpixel_core.labels import LabelSpace
from diffpixel_core.threads import let_waiting_threads_sleep

if TYPE_CHECKING:
    from diffpixel_core.checkpoints import Manifest
    from diffpixel_core.engines import TorchEngine

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """What a segmenter saw in one frame.

    Attributes:
        labels: `(H, W)` uint8 class indices of `label_space`; 255 = unlabelled. Same size as the
            frame.
        confidence: `(H, W)` uint8; 255 = probability 1 of the label shown.
        label_space: Names and colours of the labels.
        stamp_ns: Capture time of the frame, nanoseconds.
        timings_ms: Milliseconds by stage: `network` (upload, resize, network) and `tail`
            (upsampling, argmax, confidence).
    """

    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.uint8]
    label_space: LabelSpace
    stamp_ns: int
    timings_ms: dict[str, float] = field(default_factory=dict)


class Segmenter:
    """Segment frames of one modality with one engine.

    Not thread-safe: call it from one thread at a time.

    Args:
        engine: The runtime that holds the network.
    """

    def __init__(self, engine: 'TorchEngine') -> None:
        self._engine = engine
        self.manifest: Manifest = engine.manifest
        self.label_space: LabelSpace = engine.manifest.space
        self.engine_name = engine.name
        self.device = engine.device_name
        self.precision = engine.precision

    def __call__(self, frame: Frame) -> Segmentation:
        """Return the labels of a frame, at the frame's own size.

        Raises:
            FrameError: If the frame's second modality is not the one the model was trained with.
            DeviceMemoryError: If the device has not enough memory left.
        """
        if frame.modality not in self.manifest.modalities:
            raise FrameError(f'the frame carries {frame.modality!r} but {self.manifest.model} was '
                             f'trained with {" + ".join(self.manifest.modalities)}')
        started = time.perf_counter()
        scores = self._engine.scores(frame.rgb, frame.x)
        scored = time.perf_counter()
        labels, confidence = self._engine.tail(scores, frame.x.shape)
        ended = time.perf_counter()
        timings = {'network': (scored - started) * 1e3, 'tail': (ended - scored) * 1e3}
        return Segmentation(labels, confidence, self.label_space, frame.stamp_ns, timings)

    def close(self) -> None:
        """Give back the memory of the network; the segmenter cannot be used any more."""
        self._engine.close()

    def free_memory(self) -> None:
        """Give back memory of the device that is only cached."""
        self._engine.free_memory()

    def warm_up(self, height: int, width: int) -> None:
        """Run one empty frame of the given size, so that the first real one is not slow."""
        self(Frame(np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32),
                   modality=self.manifest.modalities[1]))


def load_segmenter(path: str | Path, engine: str = 'auto', *, device: str = 'auto',
                   precision: str = 'fp32') -> Segmenter:
    """Return a segmenter for a model.

    Args:
        path: A model directory, its `model.safetensors`, or the name of a shipped model
            (`rooms_t`).
        engine: `auto` or a name of `engines.ENGINES`.
        device: `auto` (CUDA where there is one, else CPU), `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, or `fp16` on CUDA.

    Raises:
        CheckpointError: If the model is missing, damaged or does not fit its manifest.
        EngineError: If the engine or the device is not to be had here.
    """
    let_waiting_threads_sleep()
    from diffpixel_core.engines import load_engine  # torch is imported here, not before

    loaded = load_engine(path, engine, device=device, precision=precision)
    for note in loaded.manifest.provenance.get('notes', ()):  # of a conversion
        logger.warning('%s: %s', path, note)
    return Segmenter(loaded)


def locate_model(path: str | Path) -> tuple[Path, 'Manifest']:
    """Return the weights file and the manifest a user means, without loading the weights.

    Args:
        path: A model directory, its `model.safetensors`, or the name of a shipped model.

    Raises:
        CheckpointError: If there is no such model, or its manifest is damaged.
    """
    from diffpixel_core.checkpoints import WEIGHTS_FILE, find_model, read_manifest

    folder = find_model(path)
    return folder / WEIGHTS_FILE, read_manifest(folder)
