# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Which engines this machine offers, best first, and why each stands where it does."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch

from diffpixel_core.engines.engine import ENGINES

# What each engine computes in, best first, on each kind of device; int8 needs an exported engine.
SUPPORTED = {
    ('tensorrt', 'cuda'): ('fp16', 'fp32'),
    ('torch', 'cuda'): ('fp16', 'bf16', 'fp32'),
    ('openvino', 'cpu'): ('bf16', 'fp32'),
    ('torch', 'cpu'): ('fp32', 'bf16'),
    ('onnxruntime', 'cpu'): ('fp32',),
    ('onnxruntime', 'cuda'): ('fp32', 'fp16'),
}
# What `auto` tries, best first. ONNX Runtime is no more than asked for: converting a model for it
# takes longest, and what it is better than, PyTorch, runs everywhere at once.
_AUTO = (
    ('tensorrt', 'cuda', 'fp16', 'the fastest on a GPU'),
    ('torch', 'cuda', 'fp16', 'the fastest on a GPU without TensorRT'),
    ('torch', 'cuda', 'bf16', 'for what overflows fp16 on a GPU'),
    ('openvino', 'cpu', 'bf16', 'the fastest on a CPU with bf16 instructions'),
    ('openvino', 'cpu', 'fp32', 'the fastest on a CPU without bf16 instructions'),
    ('torch', 'cpu', 'fp32', 'it runs everywhere'),
)
_PACKAGES = {'torch': 'torch', 'openvino': 'openvino', 'onnxruntime': 'onnxruntime',
             'tensorrt': 'tensorrt'}
_BF16_FLAGS = ('amx_bf16', 'avx512_bf16', 'bf16')  # x86, x86, ARM, as Linux calls them


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides between engines.

    Attributes:
        engines: Names of the engines whose package is installed.
        cuda: Number of CUDA devices.
        cuda_bf16: Whether all of them have bf16 products.
        cpu_bf16: Name of the CPU's bf16 instructions; empty = it has none.
    """

    engines: frozenset[str]
    cuda: int = 0
    cuda_bf16: bool = False
    cpu_bf16: str = ''

    def computes(self, kind: str, precision: str) -> bool:
        """Return whether a kind of device is there and fit for a precision."""
        if kind == 'cuda':
            return self.cuda > 0 and (precision != 'bf16' or self.cuda_bf16)
        return precision != 'bf16' or bool(self.cpu_bf16)


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine to try: its name, device and precision, and why, as a clause for a person."""

    engine: str
    device: str
    precision: str
    reason: str = 'asked for'

    @property
    def kind(self) -> str:
        """Its kind of device: `cpu` or `cuda`."""
        return kind_of(self.device)


def this_machine() -> Machine:
    """Return what this machine offers; nothing is imported for it."""
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Machine(
        frozenset(name for name in ENGINES if _is_installed(_PACKAGES[name])), cuda=cuda,
        # Ampere, compute capability 8.0, was the first.
        cuda_bf16=cuda > 0 and min(map(torch.cuda.get_device_capability, range(cuda))) >= (8, 0),
        cpu_bf16=next((flag for flag in _BF16_FLAGS if flag in cpu_flags()), ''))


def cpu_flags(file: Path = Path('/proc/cpuinfo')) -> frozenset[str]:
    """Return what the CPU can do, in the words of Linux; nothing where there is no such file."""
    try:
        lines = file.read_text(errors='replace').lower().splitlines()
    except OSError:
        return frozenset()
    return frozenset(word for line in lines if line.startswith(('flags', 'features'))
                     for word in line.partition(':')[2].split())


def choices(machine: Machine, *, device: str = 'auto', precision: str = 'auto') -> list[Choice]:
    """Return the engines for a model, best first.

    Args:
        machine: What there is.
        device: `auto` (CUDA devices before the CPU), `cpu`, `cuda` or `cuda:N`.
        precision: `auto`, or that which is wanted: then every engine that has it, in the order of
            `auto`.
    """
    rows = list(_AUTO) if precision == 'auto' else [
        (engine, kind, precision, f'the best that computes in {precision}')
        for engine, kind in dict.fromkeys((engine, kind) for engine, kind, _, _ in _AUTO)
        if precision in SUPPORTED[engine, kind]]
    kinds = ('cuda', 'cpu') if device == 'auto' else (kind_of(device),)
    found: list[Choice] = []
    for engine, kind, row_precision, reason in rows:
        if kind not in kinds or engine not in machine.engines \
                or not machine.computes(kind, row_precision):
            continue
        if engine == 'openvino' and any(choice.engine == engine for choice in found):
            continue  # fp32 would fail as bf16 did
        found.append(Choice(engine, kind if device == 'auto' else device, row_precision,
                            '; '.join((reason, *_lacks(machine, engine, kind, kinds)))))
    return found


def engine_choice(machine: Machine, engine: str, *, device: str = 'auto',
                  precision: str = 'auto') -> Choice:
    """Return on which device and in which precision an engine asked for by name is to run.

    Whether it can is found out when it is made.
    """
    if device == 'auto':
        kinds = [kind for name, kind in SUPPORTED if name == engine]
        # Most builds of ONNX Runtime have no CUDA, so its first kind is the CPU.
        device = kinds[0] if kinds[0] == 'cpu' or machine.cuda or len(kinds) == 1 else kinds[1]
    if precision != 'auto':
        return Choice(engine, device, precision)
    able = SUPPORTED.get((engine, kind_of(device)), ('fp32',))
    precision = next((row for row in able if machine.computes(kind_of(device), row)), able[0])
    return Choice(engine, device, precision, f'asked for; {precision} is its best here')


def kind_of(device: str) -> str:
    """Return `cpu` or `cuda` of a device such as `cuda:0`."""
    return device.partition(':')[0]


def _lacks(machine: Machine, engine: str, kind: str, kinds: tuple[str, ...]) -> list[str]:
    """Return what this machine lacks for a better engine, a clause each."""
    notes = []
    if kind == 'cpu' and 'cuda' in kinds and not machine.cuda:
        notes.append('there is no CUDA device')
    if machine.cpu_bf16 and engine == 'openvino':
        notes.append(f'the CPU has {machine.cpu_bf16}')
    for better, its_kind in dict.fromkeys((row[0], row[1]) for row in _AUTO):
        if (better, its_kind) == (engine, kind):
            break
        if its_kind == kind and better not in machine.engines:
            notes.append(f'{better} is not installed')
    return notes


def _is_installed(package: str) -> bool:
    """Return whether a package can be found; that it can be imported is not known yet."""
    return importlib.util.find_spec(package) is not None
