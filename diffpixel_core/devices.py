# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The processes and devices of a run: one, several, on several machines, by whatever launcher."""

import logging
import os
import warnings
from datetime import timedelta
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from diffpixel_core.errors import DiffPixelError

_ACCELERATORS = ('auto', 'cpu', 'cuda')
_STRATEGIES = ('auto', 'ddp', 'fsdp')
_PRECISIONS = ('32-true', 'bf16-mixed', '16-mixed')
_TIMEOUT = timedelta(hours=2)  # others wait while one process decodes or renders the data


class DeviceError(DiffPixelError):
    """Devices that are not there, or that do not go with one another."""


def open_fabric(*, accelerator: str = 'auto', devices: int | Literal['auto'] = 'auto',
                num_nodes: int = 1, strategy: str = 'auto',
                precision: str = '32-true') -> Fabric:
    """Return a launched Fabric: every process of the run comes back from here with its own.

    Under `torchrun` and `fabric run` the processes are there already, and their number counts;
    options of `fabric run` override those given here. Otherwise `devices` processes are started on
    this machine by repeating the command.

    Args:
        accelerator: 'auto' (CUDA where there is one), 'cpu' or 'cuda'.
        devices: Processes on each machine, one per device; 'auto' = those that were started, or 1.
        num_nodes: Machines; what a launcher says counts.
        strategy: 'ddp' (every device holds the network), 'fsdp' (each holds a shard of it, its
            gradients and its optimiser; torch's `fully_shard`, on CPU, too) or 'auto': 'ddp' if
            there are several devices.
        precision: '32-true', 'bf16-mixed' or '16-mixed' (autocast).

    Raises:
        DeviceError: If a device is missing, or settings contradict each other or the launcher.
    """
    accelerator = _of_launcher('accelerator', accelerator)
    strategy = _of_launcher('strategy', strategy)
    precision = _of_launcher('precision', precision)
    for name in ('LT_DEVICES', 'LT_NUM_NODES', 'LT_CLI_USED'):  # torchrun's count is the same
        os.environ.pop(name, None)
    for name, value, known in (('accelerator', accelerator, _ACCELERATORS),
                               ('strategy', strategy, _STRATEGIES),
                               ('precision', precision, _PRECISIONS)):
        if value not in known:
            raise DeviceError(f'{name} is {value!r}; choose one of {", ".join(known)}')
    if accelerator == 'auto':
        accelerator = 'cuda' if torch.cuda.is_available() else 'cpu'
    per_node, nodes = _count(devices, num_nodes)
    if accelerator == 'cuda' and torch.cuda.device_count() < per_node:
        raise DeviceError(f'accelerator is cuda, but torch {torch.__version__} sees '
                          f'{torch.cuda.device_count() or "no"} CUDA device; use fewer devices, '
                          'use --accelerator cpu, or install a CUDA build')
    if accelerator == 'cpu' and precision == '16-mixed':
        raise DeviceError("precision '16-mixed' needs a CUDA device; use 'bf16-mixed' on a CPU")
    if strategy == 'fsdp' and precision == '16-mixed':
        raise DeviceError("precision '16-mixed' cannot be sharded; use 'bf16-mixed'")
    logging.getLogger('lightning_fabric').setLevel(logging.WARNING)  # not every process's hello
    several = per_node * nodes > 1
    chosen: str | DDPStrategy | ModelParallelStrategy = 'auto'
    if strategy == 'fsdp':
        chosen = ModelParallelStrategy(_shard, data_parallel_size=per_node * nodes,
                                       tensor_parallel_size=1, timeout=_TIMEOUT)
    elif strategy == 'ddp' or several:
        # Of depthwise kernels, (C, 1, 3, 3), whose two ways of counting strides are the same.
        warnings.filterwarnings('ignore', message='Grad strides do not match bucket view')
        chosen = DDPStrategy(gradient_as_bucket_view=True, timeout=_TIMEOUT)
    fabric = Fabric(accelerator=accelerator, devices=per_node, num_nodes=nodes, strategy=chosen,
                    precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def precision_of(fabric: Fabric) -> str:
    """Return the precision that counts, after a launcher's options: '32-true', ..."""
    return str(fabric.strategy.precision.precision)


def device_name(fabric: Fabric) -> str:
    """Return what computes: the GPU's name, or 'cpu'."""
    if fabric.device.type == 'cuda':
        return torch.cuda.get_device_name(fabric.device)
    return fabric.device.type


def use_tf32(fabric: Fabric, allowed: bool) -> bool:
    """Let the float32 products of a GPU round their factors to TF32, or not; return whether.

    TF32 keeps the range of float32 with 10 bits of mantissa and runs on tensor cores.
    """
    if fabric.device.type != 'cuda':
        return False
    torch.set_float32_matmul_precision('high' if allowed else 'highest')
    torch.backends.cudnn.allow_tf32 = allowed
    return allowed


def _of_launcher(name: str, value: str) -> str:
    """Return what `fabric run` was told, else the value; Fabric would refuse to be told twice."""
    return os.environ.pop(f'LT_{name.upper()}', value).replace('gpu', 'cuda')


def _count(devices: int | Literal['auto'], num_nodes: int) -> tuple[int, int]:
    """Return processes per machine and machines."""
    if not TorchElasticEnvironment.detect():
        return (1 if devices == 'auto' else devices), num_nodes
    local, world = int(os.environ['LOCAL_WORLD_SIZE']), int(os.environ['WORLD_SIZE'])
    if devices not in ('auto', local):
        raise DeviceError(f'devices is {devices}, but the launcher started {local} processes on '
                          'this machine; leave devices out, the launcher says how many')
    nodes = world // local
    if num_nodes not in (1, nodes):
        raise DeviceError(f'num_nodes is {num_nodes}, but the launcher started {world} processes, '
                          f'{local} on this machine; leave num_nodes out')
    return local, nodes


def _shard(network: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard each block's parameters over all devices, then what is left, and return the network."""
    # Its warning is about writing into outputs in place, which we do not.
    warnings.filterwarnings('ignore', message='FSDP2-wrapped module')
    devices = mesh['data_parallel']
    for name, module in network.named_modules():
        if name.split('.')[-2:-1] == ['blocks']:
            fully_shard(module, mesh=devices)
    fully_shard(network, mesh=devices)
    return network
