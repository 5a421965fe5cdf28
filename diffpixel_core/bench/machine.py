# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a benchmark ran on: processor, GPU, versions."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from diffpixel_core.version import __version__

_PACKAGES = ('torch', 'triton', 'openvino', 'nncf', 'onnxruntime', 'onnxruntime-gpu', 'onnx',
             'tensorrt', 'numpy', 'opencv-python-headless')
_FEATURES = ('avx2', 'avx512f', 'avx_vnni', 'avx512_vnni', 'avx512_bf16', 'avx512_fp16',
             'amx_tile', 'amx_bf16', 'amx_int8', 'asimd', 'bf16', 'i8mm', 'sve')


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, features that matter here, GPU, system and versions.

    `cores` counts what this process may use; `load` is the load average of the last minute, which
    should be near 0 before a benchmark.
    """
    model, features = _processor()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        'cpu': model,
        'cores': len(os.sched_getaffinity(0)),
        'features': features,
        'gpu': gpus[0] if gpus else None,
        'load': round(os.getloadavg()[0], 2),
        'system': _system(),
        'python': platform.python_version(),
        'versions': {'diffpixel': __version__, **_versions()},
    }


def in_words(machine: dict[str, Any]) -> str:
    """Return a machine in one line."""
    gpu = f'; {machine["gpu"]}' if machine['gpu'] else ''
    versions = ', '.join(f'{name} {version}' for name, version in machine['versions'].items())
    return (f'{machine["cpu"]}, {machine["cores"]} cores ({" ".join(machine["features"])}){gpu}; '
            f'{machine["system"]}, Python {machine["python"]}; {versions}')


def _system() -> str:
    try:
        return platform.freedesktop_os_release()['PRETTY_NAME']
    except (OSError, KeyError):
        return platform.system()


def _processor() -> tuple[str, list[str]]:
    """Return the processor's name and those of its features that are in `_FEATURES`."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    rows = {key.strip(): value.strip() for key, _, value in
            (line.partition(':') for line in reversed(lines))}
    flags = (rows.get('flags') or rows.get('Features') or '').split()
    return (rows.get('model name') or platform.processor() or platform.machine(),
            [name for name in _FEATURES if name in flags])


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
