# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Segmenter: a Frame goes in, labels and confidence come out. The only thing outsiders call."""

import logging
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from diffpixel_core.frame import Frame, FrameError
from diffpixel_core.labels import LabelSpace
from diffpixel_core.threads import let_waiting_threads_sleep

if TYPE_CHECKING:
    from diffpixel_core.checkpoints import Manifest
    from diffpixel_core.engines import Engine

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

    Attributes:
        engine_name: The runtime's name; `device` and `precision` say where and how it computes.
        reason: Why this engine was taken, a clause for a person.
        passed_over: One line for each better engine that was tried first and failed.
        frame_size: `(H, W)` of the only frames it takes, if it is an exported engine; else None.
    """

    def __init__(self, engine: 'Engine') -> None:
        self._engine = engine
        self.manifest: Manifest = engine.manifest
        self.label_space: LabelSpace = engine.manifest.space
        self.engine_name = engine.name
        self.device = engine.device_name
        self.precision = engine.precision
        self.reason = engine.reason
        self.passed_over = engine.passed_over
        self.frame_size = engine.frame_size

    def __call__(self, frame: Frame) -> Segmentation:
        """Return the labels of a frame, at the frame's own size.

        Raises:
            FrameError: If the frame's second modality is not the one the model was trained with.
            EngineError: If the engine takes no frames of this size, or failed.
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

    @property
    def engine(self) -> 'Engine':
        """The runtime that holds the network."""
        return self._engine

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
                   precision: str = 'auto', cache: str | Path | None = None) -> Segmenter:
    """Return a segmenter for a model.

    `auto` takes the best engine that works on this machine, see `Segmenter.reason`; one asked for
    by name works or fails.

    Args:
        path: A model directory, its `model.safetensors`, the name of a shipped model (`rooms_t`),
            or what `diffpixel export` wrote.
        engine: `auto`, `torch`, `openvino`, `onnxruntime` or `tensorrt`.
        device: `auto` (CUDA where there is one, else CPU), `cpu`, `cuda` or `cuda:N`.
        precision: `auto`, `fp32`, `bf16`, `fp16` or, of an exported engine, `int8`. All but
            fp32 label some pixels differently from the trained network; bf16 0.3 to 0.8 %.
        cache: Folder of converted graphs, which are made once for each frame size; None or empty =
            `$XDG_CACHE_HOME/diffpixel/engines`.

    Raises:
        CheckpointError: If the model is missing, damaged or does not fit its manifest.
        ArtefactError: If an exported engine is damaged.
        EngineError: If the engine or the device is not to be had here.
    """
    let_waiting_threads_sleep()
    from diffpixel_core.engines import load_engine  # torch is imported here, not before

    loaded = load_engine(path, engine, device=device, precision=precision, cache=cache)
    for note in loaded.manifest.provenance.get('notes', ()):  # of a conversion
        logger.warning('%s: %s', path, note)
    return Segmenter(loaded)


def load_next_best(path: str | Path, failed: Segmenter, *, precision: str = 'auto',
                   elsewhere: bool = False, cache: str | Path | None = None) -> Segmenter:
    """Return a segmenter on the best engine below one that failed, with the same weights.

    Args:
        path: What the failed segmenter was loaded from.
        failed: That segmenter; it is left as it is.
        precision: What was asked for; engines without it compute in fp32.
        elsewhere: Whether its device is of no use any more, such as for want of memory.
        cache: As for `load_segmenter`.

    Raises:
        EngineError: If no engine is left.
        CheckpointError: If the model cannot be loaded any more.
    """
    from diffpixel_core.engines import load_next_best as next_engine

    return Segmenter(next_engine(path, failed.engine, precision=precision, elsewhere=elsewhere,
                                 cache=cache))


def weights_hash(path: str | Path) -> str:
    """Return the SHA-256 of a model's weights file, or of the one an exported engine was made of.

    Args:
        path: As for `load_segmenter`.

    Raises:
        CheckpointError: If there is no such model.
        ArtefactError: If the exported engine is damaged.
    """
    from diffpixel_core.artefacts import is_artefact

    file, manifest = locate_model(path)
    return manifest.weights_sha256 if is_artefact(path) else sha256(file.read_bytes()).hexdigest()


def locate_model(path: str | Path) -> tuple[Path, 'Manifest']:
    """Return the weights file and the manifest a user means, without loading the weights.

    Args:
        path: A model directory, its `model.safetensors`, or the name of a shipped model; or an
            exported engine, whose record stands for the weights it was made of.

    Raises:
        CheckpointError: If there is no such model, or its manifest is damaged.
        ArtefactError: If the exported engine is damaged.
    """
    from diffpixel_core.artefacts import RECORD_FILE, is_artefact, read_artefact
    from diffpixel_core.checkpoints import WEIGHTS_FILE, find_model, read_manifest

    if is_artefact(path):
        artefact = read_artefact(path)
        return artefact.folder / RECORD_FILE, artefact.manifest
    folder = find_model(path)
    return folder / WEIGHTS_FILE, read_manifest(folder)
