# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m diffpixel_core.kernels.measure`: where each kernel beats the plain form, as JSON.

Needs a CUDA device and Triton. Every form is timed twice: inside a CUDA graph, where only the GPU
counts, and called one by one, where starting kernels counts too. A kernel is recommended where its
results are right and it wins both, at every size; what is printed under `choices` then goes into
`dispatch.CHOICES`.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.kernels import dispatch
from diffpixel_core.kernels.cases import NETWORKS, Case, cases

TYPES = {'float16': torch.float16, 'bfloat16': torch.bfloat16, 'float32': torch.float32}
# How far both forms may lie apart, of the largest value: two roundings of the result.
TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-5}
MARGIN = 0.97  # a kernel wins if it takes no more than this share of the plain form's time

Times = dict[str, float]
"""Microseconds of a call, by the way it was timed: `graph_us`, `eager_us`."""


class KernelError(DiffPixelError):
    """Kernels cannot be measured here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m diffpixel_core.kernels.measure',
        description='Time Triton kernels beside the plain forms and torch.compile; print JSON.')
    parser.add_argument('--kernels', nargs='+', choices=sorted(dispatch.CHOICES),
                        default=list(dispatch.CHOICES))
    parser.add_argument('--types', nargs='+', choices=list(TYPES), default=['float16'])
    parser.add_argument('--networks', nargs='+', choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument('--size', nargs=2, type=int, default=(480, 640), metavar=('H', 'W'),
                        help='of the frame, multiples of 32; default 480 640')
    parser.add_argument('--rounds', type=int, default=30, help='timings of each; default 30')
    parser.add_argument('--no-compile', action='store_true', help='without torch.compile')
    options = parser.parse_args(arguments)
    if min(options.size) < 32 or any(side % 32 for side in options.size):
        parser.error('--size: both sides are multiples of 32')
    if options.rounds < 1:
        parser.error('--rounds is at least 1')
    try:
        device = find_device()
    except KernelError as error:
        print(f'{parser.prog}: {error}', file=sys.stderr)
        return 2
    console = Console(stderr=True)
    rows = []
    with torch.inference_mode():
        for kernel in options.kernels:
            for name in options.types:
                for case in cases(kernel, TYPES[name], frame=tuple(options.size), device=device,
                                  networks=tuple(options.networks)):
                    rows.append(measure(case, partial(seconds, rounds=options.rounds),
                                        compiled=not options.no_compile))
                    console.print(_line(rows[-1]), highlight=False)
    print(json.dumps({**_surroundings(device), 'frame': list(options.size), 'rows': rows,
                      'frame_us': totals(rows), 'choices': choices(rows, device)}, indent=1))
    return 0


def find_device() -> torch.device:
    """Return the CUDA device to measure on.

    Raises:
        KernelError: If there is none, or no Triton.
    """
    if not torch.cuda.is_available():
        raise KernelError(f'torch {torch.__version__} sees no CUDA device; kernels are measured '
                          'where they are to run: install a CUDA build on a machine with a GPU')
    device = torch.device('cuda', torch.cuda.current_device())
    if not dispatch.is_available(torch.empty(0, device=device)):
        raise KernelError('Triton is not installed; CUDA builds of torch for Linux bring it along, '
                          'else: pip install triton')
    return device


def measure(case: Case, timer: Callable[[Callable[[], Any]], Times], *,
            compiled: bool) -> dict[str, Any]:
    """Return one row: the error of a kernel and the times of all its forms.

    Args:
        case: The kernel and its inputs.
        timer: Returns the times of a call.
        compiled: Whether `torch.compile` of the plain form is timed too.
    """
    forms: dict[str, Callable[[], Any]] = {'plain': case.run_plain}
    if compiled:
        torch.compiler.reset()  # each size is compiled for itself, however many there are
        forms['compile'] = partial(torch.compile(case.plain, fullgraph=True, dynamic=False),
                                   *case.arguments, **case.settings)
    forms['triton'] = case.run_triton
    for cut in case.cuts:
        forms[f'triton {" ".join(f"{key}={value}" for key, value in cut.items())}'] = partial(
            case.run_triton, **cut)
    error = largest_error(case)
    return {'kernel': case.kernel, 'type': str(case.dtype).removeprefix('torch.'),
            'size': case.size, 'uses': case.uses, 'error': error,
            'right': error <= TOLERANCE[case.dtype],
            'times': {name: timer(form) for name, form in forms.items()}}


def largest_error(case: Case) -> float:
    """Return how far the forms lie apart: of the largest value, or the share of other labels."""
    found, wanted = case.run_triton(), case.run_plain()
    if isinstance(found, Tensor):
        found, wanted = (found,), (wanted,)
    return max(_apart(a, b) for a, b in zip(found, wanted, strict=True))


def _apart(found: Tensor, wanted: Tensor) -> float:
    if wanted.dtype == torch.uint8:
        return (found != wanted).float().mean().item()
    error = (found.double() - wanted.double()).abs().amax() / wanted.double().abs().amax()
    return error.item() if error.isfinite() else float('inf')


def seconds(call: Callable[[], Any], *, rounds: int, calls: int = 20) -> Times:
    """Return the median times of a call on the current CUDA device, in microseconds.

    Inputs are the same in every call, so the small ones are in the cache, as they are in a network
    whose previous kernel has just written them.

    Args:
        call: What is timed.
        rounds: How often each timing is repeated.
        calls: Calls in a timing.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # compiled and warm before anything is captured
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()
    replays, starts = [], []
    for _ in range(rounds + 3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        replays.append(begin.elapsed_time(end) * 1e3 / calls)
        started = time.perf_counter()
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
        starts.append((time.perf_counter() - started) * 1e6 / calls)
    return {'graph_us': statistics.median(replays[3:]), 'eager_us': statistics.median(starts[3:])}


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return microseconds that each network spends in each kernel, by form, inside a CUDA graph.

    Sums of the sizes measured, each as often as the network runs it for one frame. Of several
    layouts of one input the first counts.
    """
    sums: dict[str, Any] = {}
    counted = set()
    for row in rows:
        for network, uses in row['uses'].items():
            place = (network, row['type'], row['kernel'])
            if row['kernel'] == 'enlarge_argmax' and place in counted:
                continue
            counted.add(place)
            forms = sums.setdefault(network, {}).setdefault(row['type'], {}).setdefault(
                row['kernel'], {})
            for form, times in row['times'].items():
                if form in ('plain', 'compile', 'triton'):
                    forms[form] = forms.get(form, 0.0) + uses * times['graph_us']
    return sums


def choices(rows: list[dict[str, Any]], device: torch.device) -> dict[str, dict[str, str]]:
    """Return rows for `dispatch.CHOICES`: `triton` where it is right and wins at every size."""
    wins: dict[tuple[str, str], bool] = {}
    for row in rows:
        own, other = row['times']['triton'], row['times']['plain']
        place = (row['kernel'], dispatch.choice_key(device, TYPES[row['type']]))
        wins[place] = wins.get(place, True) and row['right'] and all(
            own[way] <= MARGIN * other[way] for way in other)
    found: dict[str, dict[str, str]] = {}
    for (kernel, key), won in wins.items():
        found.setdefault(kernel, {})[key] = 'triton' if won else 'plain'
    return found


def _line(row: dict[str, Any]) -> str:
    times = ', '.join(f'{form} {times["graph_us"]:.1f}' for form, times in row['times'].items())
    return (f'{row["kernel"]} {row["type"]} {row["size"]}: error {row["error"]:.1e}'
            f'{"" if row["right"] else " WRONG"}; us in a graph: {times}')


def _surroundings(device: torch.device) -> dict[str, Any]:
    import triton  # type: ignore[import-untyped]

    return {'device': torch.cuda.get_device_name(device),
            'architecture': dispatch.choice_key(device, torch.float16).split('/')[0],
            'torch': torch.__version__, 'triton': triton.__version__, 'cuda': torch.version.cuda}


if __name__ == '__main__':
    sys.exit(main())
