# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Which form of an operation is taken: the Triton kernel where it is known to win, else the plain.

"Known" means measured: `python -m diffpixel_core.kernels.measure` prints the rows of `CHOICES`.
"""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from diffpixel_core.kernels import plain

# Per operation: 'plain' or 'triton' for 'sm_<compute capability>/<type>', and for all others.
CHOICES: dict[str, dict[str, str]] = {
    'pixel_attention': {'other': 'plain'},
    'gates': {'other': 'plain'},
    'enlarge_argmax': {'other': 'plain'},
    'prepare_images': {'other': 'plain'},
    'add_norm': {'other': 'plain'},
    'depthwise_gelu': {'other': 'plain'},
}
_TYPES = (torch.float16, torch.bfloat16, torch.float32)


def is_available(x: Tensor) -> bool:
    """Return whether a Triton kernel could run on a tensor: it is on CUDA and Triton is there."""
    return x.is_cuda and _has_triton()


def choice_key(device: torch.device, dtype: torch.dtype) -> str:
    """Return the key of a CUDA device and a type in the rows of `CHOICES`: `sm_90/float16`."""
    return f'{_architecture(device)}/{str(dtype).removeprefix("torch.")}'


def chosen(kernel: str, x: Tensor, dtype: torch.dtype) -> str:
    """Return `plain` or `triton` for an operation on the device of a tensor.

    Args:
        kernel: A key of `CHOICES`.
        x: One of its inputs.
        dtype: The type that it computes with, as `CHOICES` names it.
    """
    rows = CHOICES[kernel]
    if dtype not in _TYPES or not is_available(x):
        return 'plain'
    return rows.get(choice_key(x.device, dtype), rows['other'])


def pixel_attention(query: Tensor, keys: tuple[Tensor, Tensor, Tensor], value: Tensor,
                    other_value: Tensor, value_noise: Tensor, alpha: Tensor, beta: Tensor, *,
                    heads: int) -> Tensor:
    """Return `plain.pixel_attention`, by the form that is faster here; it can be trained through.

    The arguments are those of `plain.pixel_attention`.
    """
    if chosen('pixel_attention', query, query.dtype) == 'triton':
        from diffpixel_core.kernels import triton_attention

        return triton_attention.pixel_attention(query, keys, value, other_value, value_noise,
                                                alpha, beta, heads=heads)
    return plain.pixel_attention(query, keys, value, other_value, value_noise, alpha, beta,
                                 heads=heads)


def gates(a: Tensor, f: Tensor, s: Tensor) -> Tensor:
    """Return `plain.gates`, by the form that is faster here; its arguments."""
    if not _learns(a, f, s) and chosen('gates', a, a.dtype) == 'triton':
        from diffpixel_core.kernels import triton_gates

        return triton_gates.gates(a, f, s)
    return plain.gates(a, f, s)


def enlarge_argmax(scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return `plain.enlarge_argmax`, by the form that is faster here; its arguments."""
    if chosen('enlarge_argmax', scores, scores.dtype) == 'triton':
        from diffpixel_core.kernels import triton_tail

        return triton_tail.enlarge_argmax(scores, size)
    return plain.enlarge_argmax(scores, size)


def prepare_images(rgb: Tensor, x: Tensor, size: tuple[int, int], *, mean: Tensor, std: Tensor,
                   maximum: float, dtype: torch.dtype) -> Tensor:
    """Return `plain.prepare_images`, by the form that is faster here; its arguments."""
    if chosen('prepare_images', rgb, dtype) == 'triton':
        from diffpixel_core.kernels import triton_images

        return triton_images.prepare_images(rgb, x, size, mean=mean, std=std, maximum=maximum,
                                            dtype=dtype)
    return plain.prepare_images(rgb, x, size, mean=mean, std=std, maximum=maximum, dtype=dtype)


def add_norm(x: Tensor, branch: Tensor | None, weight: Tensor, bias: Tensor,
             eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Return `plain.add_norm`, by the form that is faster here; its arguments."""
    inputs = (x, weight, bias) if branch is None else (x, branch, weight, bias)
    if not _learns(*inputs) and chosen('add_norm', x, x.dtype) == 'triton':
        from diffpixel_core.kernels import triton_norm

        return triton_norm.add_norm(x, branch, weight, bias, eps)
    return plain.add_norm(x, branch, weight, bias, eps)


def depthwise_gelu(tokens: Tensor, size: tuple[int, int], weight: Tensor, bias: Tensor) -> Tensor:
    """Return `plain.depthwise_gelu`, by the form that is faster here; its arguments."""
    if (not _learns(tokens, weight, bias)
            and chosen('depthwise_gelu', tokens, tokens.dtype) == 'triton'):
        from diffpixel_core.kernels import triton_depthwise

        return triton_depthwise.depthwise_gelu(tokens, size, weight, bias)
    return plain.depthwise_gelu(tokens, size, weight, bias)


def _learns(*tensors: Tensor) -> bool:
    """Return whether a gradient is wanted, which a kernel without a backward would lose."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


@cache
def _has_triton() -> bool:
    return find_spec('triton') is not None


@cache
def _architecture(device: torch.device) -> str:
    major, minor = torch.cuda.get_device_capability(device)
    return f'sm_{major}{minor}'
