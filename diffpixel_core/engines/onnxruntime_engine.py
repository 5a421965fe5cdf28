# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""OnnxruntimeEngine: the graph in ONNX Runtime, on a CPU or a CUDA device."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffpixel_core.engines.by_size import BySizeEngine, Run
from diffpixel_core.engines.engine import EngineError, import_runtime, thread_count
from diffpixel_core.engines.source import Source, open_source

CUDA_PROVIDER, CPU_PROVIDER = 'CUDAExecutionProvider', 'CPUExecutionProvider'


class OnnxruntimeEngine(BySizeEngine):
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
        super().__init__(open_source(path, self.name, precision, cache), device_name=device,
                         precision=precision, reason=reason)

    def _open(self, source: Source, shape: tuple[int, ...]) -> Run:
        onnxruntime = self._runtime
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = thread_count()  # 0 = one for each core
        # One block planned for all results took 50 MiB more at 240x320, and was no faster.
        options.enable_mem_pattern = False
        options.log_severity_level = 3  # errors; what it warns of, nobody can mend
        file = source.files(shape, half=self.precision == 'fp16')['model.onnx']
        session = onnxruntime.InferenceSession(file, options, self._providers)
        if session.get_providers()[0] != self._providers[0][0]:
            # It goes on with the CPU when libraries of CUDA are missing, and says so in a log.
            raise EngineError(f'ONNX Runtime {onnxruntime.__version__} cannot use '
                              f'{self.device_name}: its CUDA libraries cannot be loaded; use the '
                              'engine torch, or device cpu')

        def run(rgb: npt.NDArray[np.uint8],
                x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            found: npt.NDArray[np.float32] = session.run(['scores'], {'rgb': rgb, 'x': x})[0]
            return found

        return run


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
