# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The files of an engine, by format and precision; what each format cannot carry."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from diffpixel_core.artefacts import FORMATS
from diffpixel_core.deploy import DeployGraph
from diffpixel_core.deploy.packages import needed, without_telemetry
from diffpixel_core.deploy.quantise import Sample, quantise_onnx, quantise_openvino
from diffpixel_core.deploy.to_onnx import to_onnx
from diffpixel_core.deploy.to_openvino import to_openvino
from diffpixel_core.deploy.to_tensorrt import LEVEL, build_plan, import_tensorrt
from diffpixel_core.engines.engine_cache import (
    engine_key,
    gpu_machine,
    keep_timings,
    load_timings,
)
from diffpixel_core.engines.torch_engine import torch_device
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.version import __version__

Step = Callable[[str, int, int], None]
"""Told what is done now, and how many of how many steps of it are; 0 of 0 = nobody knows."""

_NO_BF16 = ('an ONNX graph cannot: it has convolutions in bf16 from opset 22 on, TensorRT of '
            'JetPack 6 reads 20 at most, and ONNX Runtime computes none on a CPU; use fp16, or '
            'for a CPU --format openvino')
REFUSED = {
    ('onnx', 'bf16'): _NO_BF16,
    ('tensorrt', 'bf16'): _NO_BF16,
    ('openvino', 'fp16'): 'processors of PCs have no fp16 arithmetic, so OpenVINO would compute '
                          'in something else under that name; use bf16',
}
_PACKAGES = {'onnx': ('onnx', 'onnxscript', 'onnxruntime'), 'openvino': ('openvino',),
             'tensorrt': ('onnx', 'onnxscript')}


class ExportError(DiffPixelError):
    """An engine that cannot be made as asked, or does not agree with its network."""


def require_possible(kind: str, precision: str) -> None:
    """Refuse what the format cannot carry or this machine cannot make, before any work.

    Args:
        kind: Key of `artefacts.FORMATS`.
        precision: One of `artefacts.PRECISIONS`.

    Raises:
        ExportError: If the format has no such precision.
        ConversionError: If a package is missing.
        EngineError: If TensorRT finds no CUDA device.
    """
    why = REFUSED.get((kind, precision))
    if why is not None:
        raise ExportError(f'--format {kind} --precision {precision} is not to be had: {why}')
    without_telemetry()
    for package in _packages(kind, precision):
        with needed(package, extra='export'):
            version(package)  # PackageNotFoundError is an ImportError
    if kind == 'tensorrt':
        import_tensorrt()
        torch_device('cuda')


def made_with(kind: str, precision: str) -> dict[str, str]:
    """Return the versions of the programs that make an engine."""
    versions = {'diffpixel': __version__, 'torch': str(torch.__version__)}
    versions |= {package: version(package) for package in _packages(kind, precision)}
    if kind == 'tensorrt':
        versions['tensorrt'] = str(import_tensorrt().__version__)
    return versions


def write_graph(folder: Path, graph: DeployGraph, *, kind: str, precision: str,
                frame: tuple[int, int], batch: int, calibration: list[Sample],
                step: Step) -> dict[str, Any]:
    """Write the files of an engine into a folder, and return the settings of its record.

    Args:
        folder: Where to.
        graph: The folded graph.
        kind: Key of `artefacts.FORMATS`.
        precision: One of `artefacts.PRECISIONS`.
        frame: `(H, W)` of the camera images.
        batch: Frames in one run; 0 = any number.
        calibration: Frames for int8.
        step: Told how far it is.

    Raises:
        ConversionError: If that fails.
    """
    step(f'converting to {kind}', 0, 0)
    if kind == 'openvino':
        return _write_openvino(folder, graph, precision, frame, batch, calibration, step)
    content = to_onnx(graph, frame, batch=batch, half=precision == 'fp16')
    if precision == 'int8':
        step(f'finding the ranges of int8 on {len(calibration)} frames', 0, 0)
        content = quantise_onnx(content, calibration, batch=batch)
    names = FORMATS[kind]
    (folder / names[-1]).write_bytes(content)
    if kind == 'onnx':
        return {}
    plan, settings = _build(content, precision, frame, batch, step)
    (folder / names[0]).write_bytes(plan)
    return settings


def _write_openvino(folder: Path, graph: DeployGraph, precision: str, frame: tuple[int, int],
                    batch: int, calibration: list[Sample], step: Step) -> dict[str, Any]:
    model = to_openvino(graph, frame, batch=batch)
    import openvino

    hint = 'f32' if precision == 'fp32' else 'bf16'
    if precision == 'int8':
        step(f'finding the ranges of int8 on {len(calibration)} frames', 0, 0)
        model = quantise_openvino(model, calibration, batch=batch)
        if 'BF16' not in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
            hint = 'f32'
    # Computing in bf16 keeps 8 bits of a weight, float16 keeps 11: half the file, half the memory.
    openvino.save_model(model, folder / FORMATS['openvino'][0], compress_to_fp16=hint == 'bf16')
    return {'INFERENCE_PRECISION_HINT': hint}


def _build(graph: bytes, precision: str, frame: tuple[int, int], batch: int,
           step: Step) -> tuple[bytes, dict[str, Any]]:
    """Return a TensorRT engine for the first GPU of this machine, and what it was built for."""
    machine = gpu_machine(torch_device('cuda'), import_tensorrt().__version__)
    key = engine_key(graph, machine, precision=precision, frame=frame, batch=batch, level=LEVEL)
    plan, timings = build_plan(
        graph, frame=frame, batch=batch, half=precision == 'fp16', timings=load_timings(key),
        level=LEVEL, report=lambda phase, done, total: step(f'TensorRT: {phase}', done, total))
    keep_timings(key, timings)
    return plan, key.settings


def _packages(kind: str, precision: str) -> tuple[str, ...]:
    return (*_PACKAGES[kind], *(('nncf',) if precision == 'int8' else ()))
