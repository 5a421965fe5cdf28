# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Milliseconds on a GPU without transfers: images and scores stay there, CUDA events keep time."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffpixel_core.bench.contenders import stacked
from diffpixel_core.frame import Frame

WARM_CALLS, CALLS = 50, 200


@runtime_checkable
class Resident(Protocol):
    """An engine that can be run on images that are on its device already."""

    def resident(self, rgb: npt.NDArray[np.uint8],
                 x: npt.NDArray[np.float32]) -> Callable[[], Tensor]:
        """Bring images to the device; return what queues the work on the current stream."""


@torch.inference_mode()
def resident_ms(engine: Resident, frames: Sequence[Frame]) -> list[float]:
    """Return milliseconds of single calls, the GPU's own time from the first kernel to the last.

    Args:
        engine: On a CUDA device, the current one.
        frames: What is computed in one call.
    """
    run = engine.resident(*(stacked(frames) if len(frames) > 1 else (frames[0].rgb, frames[0].x)))
    for _ in range(WARM_CALLS):
        run()
    found = []
    for _ in range(CALLS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        found.append(float(start.elapsed_time(end)))
    return found
