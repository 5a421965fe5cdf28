# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""OpenvinoEngine: the graph in OpenVINO on a CPU, the fastest there."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffpixel_core.deploy.packages import without_telemetry
from diffpixel_core.engines.by_size import BySizeEngine, Run
from diffpixel_core.engines.engine import (
    EngineError,
    failures_named,
    give_back_memory,
    import_runtime,
    thread_count,
)
from diffpixel_core.engines.source import ArtefactSource, Source, open_source

# OpenVINO computes in bf16 wherever the CPU can, unless it is told what is wanted.
_HINTS = {'fp32': 'f32', 'bf16': 'bf16'}


class OpenvinoEngine(BySizeEngine):
    """The graph in OpenVINO.

    Each frame size has a compiled graph of its own, made when the first such frame comes.

    Args:
        path: A model directory, its weights file, the name of a shipped model, or what
            `diffpixel export --format openvino` wrote.
        device: `cpu`.
        precision: `fp32` or `bf16`; `int8` of an exported engine.
        reason: Why this engine was taken.
        cache: Folder of converted graphs; None = the user's.

    Raises:
        EngineError: If OpenVINO is not installed, or cannot compute so here.
        CheckpointError: If the model cannot be loaded.
        ArtefactError: If the exported engine is damaged.
    """

    name = 'openvino'

    def __init__(self, path: str | Path, device: str = 'cpu', precision: str = 'fp32', *,
                 reason: str = 'asked for', cache: Path | None = None) -> None:
        without_telemetry()  # before the import, or it counts for nothing
        openvino = import_runtime('openvino')
        if device != 'cpu':
            raise EngineError(f'the engine openvino computes on the CPU, not on {device!r}; use '
                              'device cpu, or the engine torch')
        if precision not in (*_HINTS, 'int8'):
            raise EngineError(f'the engine openvino cannot compute in {precision!r} on a CPU; use '
                              'fp32 or bf16, or an engine exported in int8')
        super().__init__(open_source(path, self.name, precision, cache), device_name='cpu',
                         precision=precision, reason=reason)
        with failures_named(self.name):
            self._core: Any = openvino.Core()
            able = self._core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
        if precision == 'bf16' and 'BF16' not in able:
            raise EngineError('this CPU has no bf16 instructions, so OpenVINO would compute in '
                              'fp32; use precision fp32')

    def close(self) -> None:
        """Give back the memory of the network; the engine cannot be used any more."""
        self._core = None
        super().close()

    def _open(self, source: Source, shape: tuple[int, ...]) -> Run:
        files = source.files(shape, half=self.precision == 'bf16')
        settings: dict[str, Any] = {'PERFORMANCE_HINT': 'LATENCY', 'NUM_STREAMS': 1}
        if thread_count():
            settings['INFERENCE_NUM_THREADS'] = thread_count()
        if self.precision in _HINTS:
            settings['INFERENCE_PRECISION_HINT'] = _HINTS[self.precision]
        elif isinstance(source, ArtefactSource):
            # What is not int8 in the graph computes as it did when its agreement was measured.
            settings |= source.record.settings
        model = self._core.read_model(files['model.xml'], files['model.bin'])
        del files  # not in memory beside what is compiled
        give_back_memory()
        request = self._core.compile_model(model, 'CPU', settings).create_infer_request()

        def run(rgb: npt.NDArray[np.uint8],
                x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            # The images are read where they are; the scores are a copy, the caller's to keep.
            found: npt.NDArray[np.float32] = request.infer({'rgb': rgb, 'x': x},
                                                           share_inputs=True)['scores']
            return found

        return run
