# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Engines: the deployable graph on one device, chosen by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffpixel_core.checkpoints import load_model
from diffpixel_core.deploy import DeployGraph, cpu_tail, fold, network_size, reference_tail
from diffpixel_core.errors import DeviceMemoryError, DiffPixelError

ENGINES = ('torch',)
PRECISIONS = ('fp32', 'fp16')
# What torch, cuBLAS, cuDNN and the CPU's allocator say; only torch's own has a type.
_NO_MEMORY = ('out of memory', 'ALLOC_FAILED', 'DefaultCPUAllocator')


class EngineError(DiffPixelError):
    """An engine or a device that is not to be had here."""


class TorchEngine:
    """The graph in PyTorch on a CPU or a CUDA device.

    Args:
        path: A model directory, its weights file or the name of a shipped model.
        device: `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, or `fp16` (on CUDA: products in half precision, the rest in single).

    Raises:
        EngineError: If there is no such device, or it cannot compute so.
        CheckpointError: If the model cannot be loaded.
    """

    name = 'torch'

    def __init__(self, path: str | Path, device: str, precision: str = 'fp32') -> None:
        try:
            self.device = torch.device(device)
        except RuntimeError as error:
            raise EngineError(f'device {device!r} is unknown; use auto, cpu, cuda or cuda:N') \
                from error
        if self.device.type == 'cuda' and not torch.cuda.is_available():
            raise EngineError(f'device {device!r} was asked for, but torch {torch.__version__} '
                              'sees no CUDA device; use device cpu, or install a CUDA build')
        if self.device.type == 'cuda' and (self.device.index or 0) >= torch.cuda.device_count():
            raise EngineError(f'device {device!r} was asked for, but there are '
                              f'{torch.cuda.device_count()} CUDA devices, counted from cuda:0')
        if self.device.type not in ('cpu', 'cuda'):
            raise EngineError(f'device {device!r} is not supported; use auto, cpu, cuda or cuda:N')
        if precision not in PRECISIONS:
            raise EngineError(f'precision {precision!r} is unknown; choose '
                              f'{" or ".join(PRECISIONS)}')
        if precision == 'fp16' and self.device.type != 'cuda':
            raise EngineError(f'precision fp16 needs a CUDA device, this is {self.device}; use '
                              'fp32')
        self.precision = precision
        model, self.manifest = load_model(path)
        graph = DeployGraph(fold(model), self.manifest.normalisation, self.manifest.input_size)
        self._graph = graph.to(self.device).eval()

    @property
    def device_name(self) -> str:
        """Device as torch spells it: `cpu` or `cuda:0`."""
        return str(self.device)

    @torch.inference_mode()
    def scores(self, rgb: npt.NDArray[np.uint8], x: npt.NDArray[np.float32]) -> Tensor:
        """Return `(K, h/4, w/4)` float32 class scores of one frame, on the engine's device.

        Args:
            rgb: `(H, W, 3)` uint8.
            x: `(H, W)` float32 in the modality's unit; 0, NaN, infinite, negative = missing.
        """
        self._graph.size = network_size(x.shape, self.manifest.input_size)
        half = torch.autocast(self.device.type, torch.float16, enabled=self.precision == 'fp16')
        with self._memory_named(), half:
            images = [torch.from_numpy(np.require(image, requirements=('C', 'W'))).to(self.device)
                      for image in (rgb, x)]
            scores: Tensor = self._graph(images[0][None], images[1][None])[0]
            if self.device.type == 'cuda':
                torch.cuda.synchronize(self.device)
        return scores

    @torch.inference_mode()
    def tail(self, scores: Tensor,
             size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return `(H, W)` uint8 labels and `(H, W)` uint8 confidence of class scores."""
        if self.device.type == 'cpu':
            return cpu_tail(scores.numpy(), size)
        with self._memory_named():
            labels, confidence = reference_tail(scores, size)
            return labels.cpu().numpy(), confidence.cpu().numpy()

    def close(self) -> None:
        """Give back the memory of the network; the engine cannot be used any more."""
        del self._graph
        self.free_memory()

    def free_memory(self) -> None:
        """Give back memory of the device that is only cached."""
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

    @contextmanager
    def _memory_named(self) -> Iterator[None]:
        """Raise `DeviceMemoryError` for what torch raises when memory runs out."""
        try:
            yield
        except RuntimeError as error:
            if not any(text in str(error) for text in _NO_MEMORY):
                raise
            raise DeviceMemoryError(f'{self.device_name} has not enough memory left: '
                                    f'{str(error).splitlines()[0]}') from error


def load_engine(path: str | Path, engine: str = 'auto', *, device: str = 'auto',
                precision: str = 'fp32') -> TorchEngine:
    """Return an engine that holds a model.

    Args:
        path: A model directory, its weights file or the name of a shipped model.
        engine: `auto` or one of `ENGINES`.
        device: `auto` (CUDA where there is one, else CPU), `cpu`, `cuda` or `cuda:N`.
        precision: One of `PRECISIONS`; `fp16` needs CUDA.

    Raises:
        EngineError: If the engine or device is unknown or absent.
        CheckpointError: If the model cannot be loaded.
    """
    if engine not in ('auto', *ENGINES):
        raise EngineError(f'engine {engine!r} is unknown; choose auto or {", ".join(ENGINES)}')
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return TorchEngine(path, device, precision)
