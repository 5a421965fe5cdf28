# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""PlainEngine: a network as it was written, float32, nothing folded, captured or compiled."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from diffpixel_core.checkpoints import Manifest
from diffpixel_core.deploy import DeployGraph, reference_tail
from diffpixel_core.engines.engine import Engine, closed_error, give_back_memory, memory_named
from diffpixel_core.engines.torch_engine import torch_device


class PlainEngine(Engine):
    """A network behind the images every engine takes.

    Args:
        network: Two normalised images -> class scores, in eval mode.
        manifest: Of the model.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        EngineError: If there is no such device.
    """

    name = 'torch'

    def __init__(self, network: nn.Module, manifest: Manifest, device: str) -> None:
        if device == 'auto':
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.device = torch_device(device)
        super().__init__(manifest, device_name=str(self.device), precision='fp32')
        graph = DeployGraph(network, manifest.normalisation, manifest.input_size).eval()
        with memory_named(self.device_name):
            self._graph: DeployGraph | None = graph.to(self.device)

    @torch.inference_mode()
    def scores(self, rgb: npt.NDArray[np.uint8], x: npt.NDArray[np.float32]) -> Tensor:
        """Return class scores of one frame, or of several: stacked images, stacked scores."""
        scores = self.resident(rgb, x)()
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return scores if x.ndim == 3 else scores[0]

    def resident(self, rgb: npt.NDArray[np.uint8],
                 x: npt.NDArray[np.float32]) -> Callable[[], Tensor]:
        """Bring images to the device; return what computes their scores; see `Resident`."""
        if self._graph is None:
            raise closed_error(self.name)
        graph = self._graph
        images = [torch.from_numpy(image).to(self.device) for image in (rgb, x)]
        if x.ndim == 2:
            images = [image[None] for image in images]

        @torch.inference_mode()
        def run() -> Tensor:
            with memory_named(self.device_name):
                scores: Tensor = graph(*images)
            return scores
        return run

    @torch.inference_mode()
    def tail(self, scores: Tensor,
             size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return `(H, W)` uint8 labels and `(H, W)` uint8 confidence of class scores."""
        if self.device.type == 'cpu':
            return super().tail(scores, size)
        labels, confidence = reference_tail(scores, size)
        return labels.cpu().numpy(), confidence.cpu().numpy()

    def close(self) -> None:
        """Give back the memory of the network; the engine cannot be used any more."""
        self._graph = None
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()
        give_back_memory()
