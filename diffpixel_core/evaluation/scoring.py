# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Frames through a network, labels into confusion matrices: by stream, by camera, by frame."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from diffpixel_core.deploy import NetworkInputs
from diffpixel_core.evaluation.protocols import STREAMS, Seen, find_protocol
from diffpixel_core.metrics import ConfusionMatrix
from diffpixel_core.transforms import Sample

Autocast = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class FrameScore:
    """How one frame went, by the ensemble.

    Attributes:
        name: The colour image's path.
        camera: What it was taken with, '' if that is not known.
        miou: Over the classes true or predicted in it, 0..1; None without a labelled pixel.
        pixel_accuracy: 0..1; None without a labelled pixel.
        depth_m: Median of what was measured, metres; None if nothing was.
    """

    name: str
    camera: str
    miou: float | None
    pixel_accuracy: float | None
    depth_m: float | None


Watch = Callable[[Sample, Seen, FrameScore], None]


@dataclass
class Scores:
    """What came of scoring.

    Attributes:
        classes: Number of classes K.
        matrices: Confusion matrix of each stream: `ensemble`, `rgb`, `depth`.
        by_camera: The same for the frames of each camera.
        frames: How each frame went.
        seconds: Time of network and labels, all frames together, of all processes.
    """

    classes: int
    matrices: dict[str, ConfusionMatrix] = field(init=False)
    by_camera: dict[str, dict[str, ConfusionMatrix]] = field(default_factory=dict)
    frames: list[FrameScore] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Start with nothing counted."""
        self.matrices = _matrices(self.classes)

    def add(self, sample: Sample, seen: Seen, *, camera: str = '') -> FrameScore:
        """Count one frame and return how it went.

        Args:
            sample: The frame.
            seen: What a protocol made of it.
            camera: What it was taken with.
        """
        frame = _matrices(self.classes)
        cameras = self.by_camera.setdefault(camera, _matrices(self.classes))
        for stream, labels in zip(STREAMS, seen.labels, strict=True):
            frame[stream].update(seen.truth, labels)
            self.matrices[stream].merge(frame[stream])
            cameras[stream].merge(frame[stream])
        own = frame['ensemble']
        measured = sample.depth_m[sample.depth_m > 0]
        row = FrameScore(sample.name, camera, own.miou if own.pixels else None,
                         own.pixel_accuracy if own.pixels else None,
                         float(np.median(measured)) if measured.size else None)
        self.frames.append(row)
        return row

    def reduce(self, fabric: Fabric) -> 'Scores':
        """Return the scores of all processes together; every process gets the same.

        Counts are added as int64, frames sorted by name, so that the figures do not depend on the
        number of processes. Each process must have scored frames of its own: nothing is counted
        twice as long as no frame was scored twice.

        Args:
            fabric: Launched; every process calls this.
        """
        parts = gather((sorted(self.by_camera), self.frames, self.seconds), fabric)
        total = Scores(self.classes)
        total.by_camera = {camera: _matrices(self.classes) for camera in
                           sorted({camera for cameras, _, _ in parts for camera in cameras})}
        total.frames = sorted((frame for _, frames, _ in parts for frame in frames),
                              key=lambda frame: frame.name)
        total.seconds = sum(seconds for _, _, seconds in parts)
        nothing = _matrices(self.classes)
        groups = [(self.matrices, total.matrices)]
        groups += [(self.by_camera.get(camera, nothing), matrices)
                   for camera, matrices in total.by_camera.items()]
        counts = torch.from_numpy(np.stack([own[stream].counts for own, _ in groups
                                            for stream in STREAMS]))
        summed = fabric.all_reduce(counts.to(fabric.device), reduce_op='sum')
        assert isinstance(summed, Tensor)
        assert summed.dtype == torch.int64
        rows = iter(summed.cpu().numpy())
        for _, matrices in groups:
            for stream in STREAMS:
                matrices[stream].counts = next(rows).copy()
        return total


class Predictor:
    """Labels that a protocol makes of a network's scores.

    Args:
        network: A network of `models.build_model`.
        normalisation: Per modality `maximum`, `mean`, `std`, as in the manifest; colour first.
        input_size: `(height, width)` the network was trained at, pixels.
        protocol: Key of `protocols.PROTOCOLS`.
        device: Where the network is.
        autocast: Makes the context in which the network computes; none = as it is.

    Raises:
        ProtocolError: If there is no such protocol.
    """

    def __init__(self, network: nn.Module, *, normalisation: Mapping[str, Mapping[str, Any]],
                 input_size: tuple[int, int], protocol: str, device: torch.device | str,
                 autocast: Autocast | None = None) -> None:
        self._network = network
        self._inputs = NetworkInputs(normalisation).to(device)
        self._input_size = input_size
        self._protocol = find_protocol(protocol)
        self._device = device
        self._autocast = contextlib.nullcontext if autocast is None else autocast

    @torch.inference_mode()
    def __call__(self, sample: Sample) -> Seen:
        """Return the labels of each stream, and the truth as the protocol has it."""
        rgb, x = (torch.from_numpy(image)[None].to(self._device)
                  for image in (sample.rgb, sample.depth_m))
        return self._protocol.see(self._forward, rgb, x, sample.labels, self._input_size)

    def _forward(self, rgb: Tensor, x: Tensor, size: tuple[int, int] | None) -> Tensor:
        with self._autocast():
            output = self._network(*self._inputs(rgb, x, size))
        return torch.stack([output.ensemble.float(), *(stream.float() for stream in output.aux)])


def score_samples(network: nn.Module, samples: Iterable[Sample], *,
                  normalisation: Mapping[str, Mapping[str, Any]], input_size: tuple[int, int],
                  protocol: str, classes: int, device: torch.device | str,
                  autocast: Autocast | None = None,
                  cameras: Mapping[str, str] | None = None,
                  watch: Watch | None = None) -> Scores:
    """Return the scores of a network on labelled frames, all streams from one forward pass.

    Args:
        network: As for `Predictor`; not wrapped for several processes, which may have different
            numbers of frames. Its modules are left in the mode they were in.
        samples: The frames; labels in the classes of the network. Several processes pass
            different ones and then call `Scores.reduce`.
        normalisation: As for `Predictor`.
        input_size: As for `Predictor`.
        protocol: As for `Predictor`.
        classes: Number of classes K.
        device: As for `Predictor`.
        autocast: As for `Predictor`.
        cameras: Camera by name of the frame; none = one camera without a name.
        watch: Called with each frame, what was made of it and how that went.

    Raises:
        ProtocolError: If there is no such protocol.
    """
    predictor = Predictor(network, normalisation=normalisation, input_size=input_size,
                          protocol=protocol, device=device, autocast=autocast)
    scores = Scores(classes)
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        for sample in samples:
            started = time.perf_counter()
            seen = predictor(sample)
            scores.seconds += time.perf_counter() - started
            row = scores.add(sample, seen, camera=(cameras or {}).get(sample.name, ''))
            if watch is not None:
                watch(sample, seen, row)
    finally:
        for module in training:  # one by one: some may be frozen
            module.training = True
    return scores


def _matrices(classes: int) -> dict[str, ConfusionMatrix]:
    return {stream: ConfusionMatrix(classes) for stream in STREAMS}


def gather(part: Any, fabric: Fabric) -> list[Any]:
    """Return the part of every process, in the order of their ranks."""
    if fabric.world_size == 1:
        return [part]
    parts: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(parts, part)
    return parts
