# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""OnnxruntimeEngine: the graph in ONNX Runtime, on a CPU or a CUDA device."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffpixel_core.engines.engine import (
    Engine,
    EngineError,
    closed_error,
    failures_named,
    give_back_memory,
    import_runtime,
    memory_named,
    thread_count,
)
from diffpixel_core.engines.recent import Recent
from diffpixel_core.engines.source import Source, open_source

CUDA_PROVIDER, CPU_PROVIDER = 'CUDAExecutionProvider', 'CPUExecutionProvider'


class OnnxruntimeEngine(Engine):
    """The graph in ONNX Runtime.

    Each frame size has a session of its own, made when the first such frame comes.

    Args:
        path: A model directory, its weights file, the name of a shipped model, or what
            `diffpixel export --format onnx` wrote.
        device: `cpu`, or `cuda` or `cuda:N` where ONNX Runtime was built with CUDA.
        precision: `fp32`; on CUDA also `fp16`; `int8` or `fp16` of an exported engine.
        reason: Why this engine was taken.
        cache: Folder of converted graphs; None = the user's.

    Raises:
        EngineError: If ONNX Runtime or the device is not to be had here, or cannot compute so.
        CheckpointError: If the model cannot be loaded.
        ArtefactError: If the exported engine is damaged.
    """

    name = 'onnxruntime'

    def __init__(self, path: str | Path, device: str = 'cpu', precision: str = 'fp32', *,
                 reason: str = 'asked for', cache: Path | None = None) -> None:
        self._runtime = import_runtime('onnxruntime')
        self._providers = _providers(device, self._runtime.get_available_providers())
        if precision == 'bf16':
            raise EngineError("the engine onnxruntime cannot compute in 'bf16'; use fp32, or the "
                              'engine openvino or torch')
        source = open_source(path, self.name, precision, cache)
        super().__init__(source.manifest, device_name=device, precision=precision, reason=reason)
        self._source: Source | None = source
        self._sessions: Recent[tuple[int, ...], Any] = Recent()

    def scores(self, rgb: npt.NDArray[np.uint8], x: npt.NDArray[np.float32]) -> Tensor:
        """Return `(K, h/4, w/4)` float32 class scores of one frame; see `Engine.scores`."""
        if self._source is None:
            raise closed_error(self.name)
        session = self._sessions.get(x.shape)
        one = x.ndim == 2
        with failures_named(self.name), memory_named(self.device_name):
            if session is None:
                session = self._session(self._source, x.shape)
                self._sessions.put(x.shape, session)
            images = [np.ascontiguousarray(image) for image in (rgb, x)]
            images = [image[None] for image in images] if one else images
            found, = session.run(['scores'], dict(zip(('rgb', 'x'), images, strict=True)))
        scores = torch.from_numpy(found)
        return scores[0] if one else scores

    def close(self) -> None:
        """Give back the memory of the network; the engine cannot be used any more."""
        self._sessions.clear()
        self._source = None
        give_back_memory()

    def _session(self, source: Source, shape: tuple[int, ...]) -> Any:
        """Return what runs the graph for frames of a size."""
        onnxruntime = self._runtime
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = thread_count()  # 0 = one for each core
        options.log_severity_level = 3  # errors; what it warns of, nobody can mend
        file = source.files(shape, half=self.precision == 'fp16')['model.onnx']
        session = onnxruntime.InferenceSession(file, options, self._providers)
        if session.get_providers()[0] != self._providers[0][0]:
            # It goes on with the CPU when libraries of CUDA are missing, and says so in a log.
            raise EngineError(f'ONNX Runtime {onnxruntime.__version__} cannot use '
                              f'{self.device_name}: its CUDA libraries cannot be loaded; use the '
                              'engine torch, or device cpu')
        return session


def _providers(device: str, available: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return what ONNX Runtime is to compute with.

    Raises:
        EngineError: If the device is unknown or this build cannot use it.
    """
    kind, _, index = device.partition(':')
    if device == 'cpu':
        return [(CPU_PROVIDER, {})]
    if kind != 'cuda' or not (index or '0').isdigit():
        raise EngineError(f'device {device!r} is unknown; use auto, cpu, cuda or cuda:N')
    if CUDA_PROVIDER not in available:
        raise EngineError(f'this build of ONNX Runtime has no CUDA ({", ".join(available)}); '
                          'install onnxruntime-gpu, use the engine torch, or device cpu')
    # TF32 would round the factors of float32 products to 10 bits.
    return [(CUDA_PROVIDER, {'device_id': int(index or 0), 'use_tf32': 0}), (CPU_PROVIDER, {})]
