# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX to a TensorRT engine, by one path for TensorRT 10.3 to 11.

Networks are strongly typed: what is float16 in the ONNX file is float16 in the engine. The flags
that allowed precisions in TensorRT 10 do not exist in 11 and are not used. Written from the
documentation of both generations; the authors had no machine to run it on.

Source: NVIDIA TensorRT documentation, Python API 10.3 and 11.4, "Migrating from 10.x to 11.x".
"""

import importlib
import logging
from collections.abc import Callable
from typing import Any

from diffpixel_core.deploy.packages import ConversionError
from diffpixel_core.deploy.to_onnx import ANY_BATCH, INPUTS, OUTPUT

logger = logging.getLogger(__name__)

LEVEL = 3  # TensorRT's default; 5 searches for hours and gains little
LARGEST_BATCH, USUAL_BATCH = 16, 8  # of an engine for any number of frames
OLDEST = (10, 3)
_TYPES = dict(zip((*INPUTS, OUTPUT), ('UINT8', 'FLOAT', 'FLOAT'), strict=True))

Report = Callable[[str, int, int], None]
"""Told of a phase's name, its steps done and all its steps, from any thread."""


def import_tensorrt() -> Any:
    """Return the module `tensorrt`.

    Raises:
        ConversionError: If it is missing or too old.
    """
    try:
        trt = importlib.import_module('tensorrt')
    except ImportError as error:
        raise ConversionError(
            f'this needs TensorRT, and its Python package cannot be imported here ({error}); on a '
            'Jetson it comes with JetPack (make the environment with --system-site-packages), '
            'elsewhere: pip install tensorrt') from error
    version = tuple(int(part) for part in trt.__version__.split('.')[:2])
    if version < OLDEST:
        raise ConversionError(f'TensorRT {trt.__version__} is installed; at least '
                              f'{OLDEST[0]}.{OLDEST[1]} is needed (JetPack 6.2): update it')
    return trt


def build_plan(graph: bytes, *, frame: tuple[int, int], batch: int, half: bool,
               timings: bytes = b'', level: int = LEVEL,
               report: Report | None = None) -> tuple[bytes, bytes]:
    """Return a serialised engine and the timings of kernels, for the next build.

    Args:
        graph: The ONNX file, of `to_onnx`.
        frame: `(H, W)` of the camera images.
        batch: Frames in a run; 0 = any number up to `LARGEST_BATCH`.
        half: Whether the network in it is in float16; checked.
        timings: What an earlier build on this GPU returned.
        level: Optimisation level, 0 to 5.
        report: Told how far the build is.

    Raises:
        ConversionError: If TensorRT is missing, or cannot build the graph.
    """
    trt = import_tensorrt()
    log = make_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        faults = '; '.join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise ConversionError(f'TensorRT {trt.__version__} cannot read the graph: {faults}; use '
                              'another engine')
    if half:
        _require_half(trt, network)
    config = builder.create_builder_config()
    config.builder_optimization_level = level
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 means float32
    if batch == ANY_BATCH:
        profile = builder.create_optimization_profile()
        for name, rest in zip(INPUTS, ((*frame, 3), frame), strict=True):
            profile.set_shape(name, (1, *rest), (USUAL_BATCH, *rest), (LARGEST_BATCH, *rest))
        config.add_optimization_profile(profile)
    cache = config.create_timing_cache(timings)
    if cache is not None:
        config.set_timing_cache(cache, False)  # of another machine: not taken
    monitor = _monitor(trt, report)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor.stopped is not None:
        raise monitor.stopped
    if plan is None:
        raise ConversionError(f'TensorRT {trt.__version__} cannot build the engine: '
                              f'{log.last_error}; use another engine or precision')
    cache = config.get_timing_cache()
    return bytes(plan), bytes(cache.serialize()) if cache is not None else b''


def require_types(trt: Any, engine: Any) -> None:
    """Check that an engine takes and gives what the graph does.

    Raises:
        ConversionError: If a tensor is missing, or of another type.
    """
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    found = {name: engine.get_tensor_dtype(name) for name in names}
    wanted = {name: getattr(trt.DataType, kind) for name, kind in _TYPES.items()}
    if found != wanted:
        raise ConversionError(f'the engine has tensors {found}, it should have {wanted}; export '
                              'the model again')


def make_log(trt: Any) -> Any:
    """Return a logger for TensorRT that speaks through ours and remembers the last error."""
    severity = trt.ILogger.Severity
    levels = {severity.INTERNAL_ERROR: logging.ERROR, severity.ERROR: logging.ERROR,
              severity.WARNING: logging.INFO}  # its warnings are for its developers

    class Log(trt.ILogger):  # type: ignore[misc]
        last_error = 'it does not say why'

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            if level == logging.ERROR:
                self.last_error = message
            logger.log(level, '%s', message)

    return Log()


def _monitor(trt: Any, report: Report | None) -> Any:
    """Return a progress monitor; `stopped` is what a report raised, and ends the build."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped: BaseException | None = None
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step + 1)
            return self.stopped is None

        def phase_finish(self, phase_name: str) -> None:
            self._tell(phase_name, self.steps.get(phase_name, 1))

        def _tell(self, phase: str, done: int) -> None:
            # An exception must not cross into C++; Ctrl-C arrives here, too.
            try:
                if report is not None and self.stopped is None:
                    report(phase, done, self.steps.get(phase, 1))
            except BaseException as error:
                self.stopped = error

    return Monitor()


def _require_half(trt: Any, network: Any) -> None:
    """Check that every convolution and product of the network is in float16.

    Raises:
        ConversionError: Naming the first that is not.
    """
    heavy = (trt.LayerType.CONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.type in heavy and layer.get_output(0).dtype != trt.DataType.HALF:
            raise ConversionError(f'layer {layer.name} of the fp16 graph would compute in '
                                  f'{layer.get_output(0).dtype}; this is a fault of diffpixel: '
                                  'use precision fp32 and report it')

