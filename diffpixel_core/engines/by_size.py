# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What engines share whose runtime wants a graph of its own for every frame size."""

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffpixel_core.engines.engine import (
    Engine,
    closed_error,
    failures_named,
    give_back_memory,
    memory_named,
)
from diffpixel_core.engines.recent import Recent
from diffpixel_core.engines.source import Source

Run = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""`(B, H, W, 3)` uint8 and `(B, H, W)` float32, both contiguous -> `(B, K, h, w)`, to keep."""


class BySizeEngine(Engine):
    """An engine that opens its graph when the first frame of a size comes, and keeps a few.

    Args:
        source: Where the graphs come from.
        device_name: As in `Engine`.
        precision: As in `Engine`.
        reason: As in `Engine`.
    """

    def __init__(self, source: Source, *, device_name: str, precision: str, reason: str) -> None:
        super().__init__(source.manifest, device_name=device_name, precision=precision,
                         reason=reason)
        self._source: Source | None = source
        self._runs: Recent[tuple[int, ...], Run] = Recent()

    @abstractmethod
    def _open(self, source: Source, shape: tuple[int, ...]) -> Run:
        """Return what runs the graph for frames `(H, W)` or `(B, H, W)`."""

    def scores(self, rgb: npt.NDArray[np.uint8], x: npt.NDArray[np.float32]) -> Tensor:
        """Return `(K, h/4, w/4)` float32 class scores of one frame; see `Engine.scores`."""
        if self._source is None:
            raise closed_error(self.name)
        run = self._runs.get(x.shape)
        with failures_named(self.name), memory_named(self.device_name):
            if run is None:
                run = self._open(self._source, x.shape)
                self._runs.put(x.shape, run)
            rgb, x = np.ascontiguousarray(rgb), np.ascontiguousarray(x)
            one = x.ndim == 2
            scores = torch.from_numpy(run(rgb[None], x[None]) if one else run(rgb, x))
        return scores[0] if one else scores

    def close(self) -> None:
        """Give back the memory of the network; the engine cannot be used any more."""
        self._runs.clear()
        self._source = None
        give_back_memory()
