# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a machine could do at best, and what a network asks of it: the floor under a latency.

Two floors, and the higher one counts: the multiply-accumulates over the fastest matrix product this
machine was seen to do, and the bytes over its fastest copy. Counted are products only (linear
layers, convolutions, attention) and what they read and write: weights, inputs and results, once
each. Everything between the products, caches that spare memory, and a product's own size, at which
few reach the peak, are left out, so a floor is a yardstick and no promise.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count

SIDE = 2048               # of the matrices multiplied
COPIED = 256 * 2 ** 20    # bytes
ELEMENT_BYTES = {'fp32': 4, 'bf16': 2, 'fp16': 2}
_DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
_TRIES = 5
_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@dataclass(frozen=True, slots=True)
class Peaks:
    """The fastest of a machine.

    Attributes:
        gemm_gflops: 10^9 floating-point operations a second in a product of `SIDE` squared
            matrices, by precision: the faster of a matrix product and a 1x1 convolution.
        copy_gb_s: 10^9 bytes a second, read and written, copying `COPIED` bytes.
    """

    gemm_gflops: dict[str, float]
    copy_gb_s: float


@dataclass(frozen=True, slots=True)
class Work:
    """What a network asks for one call.

    Attributes:
        gmac: 10^9 multiply-accumulates of its products.
        elements: Numbers its products read and write, weights too.
    """

    gmac: float
    elements: int

    def floors_ms(self, precision: str, peaks: Peaks) -> 'Floors | None':
        """Return the least milliseconds a call can take; None for a precision without a peak."""
        if precision not in peaks.gemm_gflops:
            return None
        return Floors(2e3 * self.gmac / peaks.gemm_gflops[precision],
                      self.elements * ELEMENT_BYTES[precision] / peaks.copy_gb_s / 1e6)


class Floors(NamedTuple):
    """Milliseconds below which a call cannot be; both hold.

    Attributes:
        compute: For the multiply-accumulates.
        memory: For the bytes.
    """

    compute: float
    memory: float


@torch.no_grad()
def measure_peaks(device: torch.device, precisions: Sequence[str]) -> Peaks:
    """Return what a device reaches with the number of threads that is set.

    Args:
        device: CPU or CUDA.
        precisions: Of products, keys of `ELEMENT_BYTES`.
    """
    gemm = {}
    for precision in precisions:
        matrix = torch.randn(SIDE, SIDE, device=device).to(_DTYPES[precision])
        # The same product by two libraries: on AMD's CPUs PyTorch's own took twice as long in fp32.
        pixels = matrix.clone().reshape(1, SIDE // 32, 32, SIDE).permute(0, 3, 1, 2)
        ways = (partial(torch.mm, matrix, matrix.clone(), out=torch.empty_like(matrix)),
                partial(nn.functional.conv2d, pixels, matrix[..., None, None]))
        gemm[precision] = 2 * SIDE ** 3 / 1e9 / min(_fastest(way, device) for way in ways)
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return Peaks(gemm, 2 * COPIED / 1e9 / _fastest(lambda: target.copy_(source), device))


@torch.no_grad()
def count_work(network: nn.Module, size: tuple[int, int], batch: int = 1) -> Work:
    """Return what a network asks, without running it.

    Args:
        network: Normalised `(B, 3, h, w)` twice -> anything; on the CPU.
        size: `(height, width)`, pixels.
        batch: B.
    """
    flops = FlopCounterMode(display=False, custom_mapping={_ATTENTION: sdpa_flop_count_of})
    with FakeTensorMode(allow_non_fake_inputs=True), flops, _Operands() as operands:
        image = torch.empty(batch, 3, *size)
        network(image, image)
    return Work(flops.get_total_flops() / 2e9, operands.elements)


def sdpa_flop_count_of(query: Any, key: Any, value: Any, *rest: Any, out_shape: Any = None,
                       **options: Any) -> int:
    """Return the floating-point operations of the CPU's attention, given shapes."""
    flops: int = sdpa_flop_count(query, key, value)
    return flops


class _Operands(TorchDispatchMode):
    """Counts the numbers that products read and write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        """Let an operation pass, and count it if it is a product."""
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry or func.overloadpacket is _ATTENTION:
            result = out if isinstance(out, Tensor) else out[0]
            self.elements += sum(x.numel() for x in (*args, result) if isinstance(x, Tensor))
        return out


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the fastest of some tries."""
    seconds = []
    for _ in range(_TRIES + 1):  # the first one warms up
        started = time.perf_counter()
        work()
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
