# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The device and processes of an evaluation, from the words of the command line."""

import os
from collections.abc import Mapping
from types import MappingProxyType

import torch
from lightning_fabric import Fabric

from diffpixel_core.devices import open_fabric
from diffpixel_core.evaluation.results import EvaluationError

# What Fabric calls each precision: weights stay float32, products are computed in the other type.
PRECISIONS: Mapping[str, str] = MappingProxyType(
    {'fp32': '32-true', 'bf16': 'bf16-mixed', 'fp16': '16-mixed'})


def evaluation_fabric(device: str = 'auto', precision: str = 'fp32') -> Fabric:
    """Return what runs an evaluation, launched; under torchrun every process gets its device.

    Args:
        device: `auto` (CUDA where there is one, else CPU), `cpu`, `cuda` or `cuda:N`.
        precision: Key of `PRECISIONS`.

    Raises:
        EvaluationError: If device or precision are unknown, or there is no such CUDA device.
        DeviceError: If they do not go together.
    """
    if precision not in PRECISIONS:
        raise EvaluationError(f'precision {precision!r} is unknown; choose one of '
                              f'{", ".join(PRECISIONS)}')
    kind, colon, number = device.partition(':')
    if kind not in ('auto', 'cpu', 'cuda') or (colon and (kind != 'cuda'
                                                          or not number.isdecimal())):
        raise EvaluationError(f'device {device!r} is unknown; use auto, cpu, cuda or cuda:N')
    if not colon:
        return open_fabric(accelerator=kind, precision=PRECISIONS[precision])
    if int(number) >= torch.cuda.device_count():
        raise EvaluationError(f'device {device!r} was asked for, but torch {torch.__version__} '
                              f'sees {torch.cuda.device_count()} CUDA devices; use --device cpu')
    if int(os.environ.get('WORLD_SIZE', '1')) > 1:
        raise EvaluationError(f'device {device!r} is one device, but there are '
                              f'{os.environ["WORLD_SIZE"]} processes; use --device cuda')
    fabric = Fabric(accelerator='cuda', devices=[int(number)],
                    precision=PRECISIONS[precision])  # type: ignore[arg-type]
    fabric.launch()
    return fabric
