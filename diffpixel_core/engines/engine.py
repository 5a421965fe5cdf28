# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Engine: what every runtime that computes the deployable graph can do, and how it fails."""

import ctypes
import gc
import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from diffpixel_core.checkpoints import Manifest
from diffpixel_core.deploy import cpu_tail
from diffpixel_core.errors import DeviceMemoryError, DiffPixelError

ENGINES = ('torch', 'openvino', 'onnxruntime', 'tensorrt')
# What the runtimes and their allocators say when memory runs out; few have a type for it.
_NO_MEMORY = ('out of memory', 'OUT_OF_MEMORY', 'ALLOC_FAILED', 'DefaultCPUAllocator', 'bad_alloc',
              'bad allocation', 'Failed to allocate memory')


class EngineError(DiffPixelError):
    """An engine, a device or a precision that is not to be had here, or a frame it cannot take."""


class Engine(ABC):
    """A model held by one runtime on one device.

    Not thread-safe: call it from one thread at a time.

    Attributes:
        name: One of `ENGINES`.
        manifest: Of the model.
        device_name: `cpu` or `cuda:N`.
        precision: `fp32`, `bf16`, `fp16` or `int8`.
        reason: Why this engine and precision were taken, a clause for a person to read.
        passed_over: One line for each better engine that was tried first and failed.
        frame_size: `(H, W)` of the only frames it takes, if it was exported; else None.
    """

    name: ClassVar[str]

    def __init__(self, manifest: Manifest, *, device_name: str, precision: str,
                 reason: str = 'asked for') -> None:
        self.manifest = manifest
        self.device_name = device_name
        self.precision = precision
        self.reason = reason
        self.passed_over: tuple[str, ...] = ()
        self.frame_size: tuple[int, int] | None = None

    @abstractmethod
    def scores(self, rgb: npt.NDArray[np.uint8], x: npt.NDArray[np.float32]) -> Tensor:
        """Return `(K, h/4, w/4)` float32 class scores of one frame, on the engine's device.

        Several frames of one size may come stacked, and their scores are stacked then.

        Args:
            rgb: `(H, W, 3)` uint8, or `(B, H, W, 3)`.
            x: `(H, W)` float32 in the modality's unit; 0, NaN, infinite, negative = missing; or
                `(B, H, W)`.

        Raises:
            EngineError: If the engine takes no frames of this size, or was closed.
            DeviceMemoryError: If the device has not enough memory left.
        """

    def tail(self, scores: Tensor,
             size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return `(H, W)` uint8 labels and `(H, W)` uint8 confidence of class scores."""
        return cpu_tail(scores.numpy(), size)

    @abstractmethod
    def close(self) -> None:
        """Give back the memory of the network; the engine cannot be used any more."""

    def free_memory(self) -> None:  # noqa: B027  most runtimes keep nothing they could give
        """Give back memory of the device that is only cached."""


def give_back_memory() -> None:
    """Return freed memory to the system, which C libraries keep for themselves.

    Measured after closing ONNX Runtime with `diffpixelformer_t`: 366 MiB before, 251 after, 237
    with nothing but the imports.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # not GNU's C library
        ctypes.CDLL(None).malloc_trim(0)


def closed_error(name: str) -> EngineError:
    """Return what is raised when a closed engine is asked for scores."""
    return EngineError(f'this {name} engine was closed; load the model again')


@contextmanager
def memory_named(device_name: str) -> Iterator[None]:
    """Raise `DeviceMemoryError` for what the runtimes raise in the block when memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, MemoryError) and not any(hint in text for hint in _NO_MEMORY):
            raise
        raise DeviceMemoryError(f'{device_name} has not enough memory left: '
                                f'{first_line(error)}') from error


@contextmanager
def failures_named(name: str) -> Iterator[None]:
    """Raise `EngineError` for whatever a runtime that is not ours raises in the block."""
    try:
        yield
    except DiffPixelError:
        raise
    except Exception as error:  # each runtime has types of its own
        raise EngineError(f'the engine {name} failed: {first_line(error)}; use another engine') \
            from error


def import_runtime(package: str) -> Any:
    """Return the package of a runtime.

    Raises:
        EngineError: If it is missing, or broken, with the remedy.
    """
    try:
        return importlib.import_module(package)
    except Exception as error:  # a broken library raises what it likes
        raise EngineError(f'the engine {package} needs the package {package}, which cannot be '
                          f'imported here ({first_line(error)}); pip install '
                          "'diffpixel_ros[engines]'") from error


def first_line(error: BaseException) -> str:
    """Return what an error says in a line, or its type if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def thread_count() -> int:
    """Return how many threads the user wants (`OMP_NUM_THREADS`); 0 = what the runtime thinks best.

    PyTorch reads it by itself; the other runtimes have pools of their own.
    """
    wanted = os.environ.get('OMP_NUM_THREADS', '').split(',')[0].strip()
    return int(wanted) if wanted.isdigit() else 0
