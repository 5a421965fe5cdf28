# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""CapturedGraph: the deployable graph for one frame size, as one CUDA graph with its buffers."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_TRIAL_RUNS = 3  # libraries choose algorithms and allocate workspaces before the capture


class CapturedGraph:
    """Images from the host in, class scores on the device out, with one launch for all kernels.

    Args:
        run: `(B, H, W, 3)` uint8 and `(B, H, W)` float32 on the device -> `(B, K, h, w)` scores.
        frame: `(H, W)`.
        device: A CUDA device.
        batch: Frames in one run.
    """

    @torch.inference_mode()
    def __init__(self, run: Callable[[Tensor, Tensor], Tensor], frame: tuple[int, int],
                 device: torch.device, batch: int = 1) -> None:
        self._stream = torch.cuda.Stream(device)
        # Pinned memory is copied while the host goes on, pageable memory is not.
        self._host = (torch.zeros(batch, *frame, 3, dtype=torch.uint8).pin_memory(),
                      torch.zeros(batch, *frame).pin_memory())
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), torch.cuda.stream(self._stream):
            self._images = (self._host[0].to(device), self._host[1].to(device))
            for _ in range(_TRIAL_RUNS):
                run(*self._images)
            self._stream.synchronize()
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._scores = run(*self._images)

    @torch.inference_mode()
    def __call__(self, rgb: npt.NDArray[np.uint8], x: npt.NDArray[np.float32]) -> Tensor:
        """Return `(B, K, h, w)` scores on the device, ready, and the caller's to keep.

        Args:
            rgb: `(H, W, 3)` uint8, or `(B, H, W, 3)`.
            x: `(H, W)` float32, or `(B, H, W)`.
        """
        with torch.cuda.stream(self._stream):
            self._upload(rgb, x)
            self._graph.replay()
            scores = self._scores.clone()  # the next frame overwrites the graph's own
        self._stream.synchronize()
        return scores

    @torch.inference_mode()
    def resident(self, rgb: npt.NDArray[np.uint8],
                 x: npt.NDArray[np.float32]) -> Callable[[], Tensor]:
        """Bring images to the device; return what queues the work on the current stream.

        What that returns are the graph's own scores, which its next run overwrites.
        """
        with torch.cuda.stream(self._stream):
            self._upload(rgb, x)
        self._stream.synchronize()

        def run() -> Tensor:
            self._graph.replay()
            return self._scores

        return run

    def _upload(self, rgb: npt.NDArray[np.uint8], x: npt.NDArray[np.float32]) -> None:
        """Queue the copy of images to the device on the current stream."""
        np.copyto(self._host[0].numpy(), rgb)  # whatever its strides
        np.copyto(self._host[1].numpy(), x)
        for image, host in zip(self._images, self._host, strict=True):
            image.copy_(host, non_blocking=True)
