# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""How far an engine agrees with the network as it was trained: label by label, score by score."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from diffpixel_core.deploy import DeployGraph, cpu_tail
from diffpixel_core.engines import Engine
from diffpixel_core.frame import Frame

FP32_FLOOR, REDUCED_FLOOR = 0.999, 0.99  # share of pixels whose label is the same


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was measured on some frames.

    Attributes:
        frames: How many.
        agreement: Share of their pixels whose label, after the tail, is the trained network's.
        worst: The same, of the frame with the least.
        score_difference: Largest difference of a class score.
        score_range: Largest class score, either sign, of the trained network.
        engine_ms: Median time of the engine for one run, here, with whatever else ran.
        trained_ms: Median time of the trained network for one frame, PyTorch in fp32 on the CPU.
    """

    frames: int
    agreement: float
    worst: float
    score_difference: float
    score_range: float
    engine_ms: float
    trained_ms: float


def measure(trained: DeployGraph, engine: Engine, frames: Sequence[Frame], *, batch: int,
            done: Callable[[], None]) -> Agreement:
    """Return how far an engine agrees with the trained network on some frames.

    Args:
        trained: The graph with the network as trained, unfolded, in fp32 on the CPU.
        engine: The engine.
        frames: All of one size.
        batch: Frames the engine takes in one run; 0 = any number: one and three are tried.
        done: Called after every frame.
    """
    shares, differences, largest, engine_ms, trained_ms = [], [], [], [], []
    size = frames[0].x.shape
    for index, frame in enumerate(frames):
        started = time.perf_counter()
        with torch.inference_mode():
            wanted = trained(torch.from_numpy(frame.rgb)[None],
                             torch.from_numpy(frame.x)[None])[0].numpy()
        trained_ms.append(time.perf_counter() - started)
        # Neighbours fill the batch: a frame must come out as it would alone.
        count = batch or (1, 3)[index % 2]
        group = [frames[(index + i) % len(frames)] for i in range(count)]
        started = time.perf_counter()
        if count == 1:
            found = engine.scores(frame.rgb, frame.x)
        else:
            found = engine.scores(np.stack([one.rgb for one in group]),
                                  np.stack([one.x for one in group]))[0]
        scores = found.cpu().numpy()
        engine_ms.append(time.perf_counter() - started)
        shares.append(float((cpu_tail(scores, size)[0] == cpu_tail(wanted, size)[0]).mean()))
        differences.append(float(np.abs(scores - wanted).max()))
        largest.append(float(np.abs(wanted).max()))
        done()
    return Agreement(len(frames), float(np.mean(shares)), min(shares),
                     float(np.max(differences)), max(largest),
                     statistics.median(engine_ms) * 1e3, statistics.median(trained_ms) * 1e3)


def floor_of(precision: str) -> float:
    """Return the least share of equal labels with which an engine may be written."""
    return FP32_FLOOR if precision == 'fp32' else REDUCED_FLOOR
