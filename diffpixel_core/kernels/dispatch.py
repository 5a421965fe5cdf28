# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Which form of an operation is taken: the Triton kernel where it is known to win, else the plain.

"Known" means measured: `python -m diffpixel_core.kernels.measure` prints the rows of `CHOICES`. To
measure whole networks, or to test, every operation can be asked for one form by name: `use`.
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
MEASURED = 'measured'  # what `use` is unless a form, 'plain' or 'triton', is asked for by name
_TYPES = (torch.float16, torch.bfloat16, torch.float32)


def is_available(x: Tensor) -> bool:
    """Return whether a Triton kernel could run on a tensor: it is on CUDA and Triton is there."""
    return x.is_cuda and _has_triton()


def choice_key(device: torch.device, dtype: torch.dtype) -> str:
    """Return the key of a CUDA device and a type in the rows of `CHOICES`: `sm_90/float16`."""
    return f'{_architecture(device)}/{str(dtype).removeprefix("torch.")}'


def chosen(kernel: str, x: Tensor, dtype: torch.dtype, use: str = MEASURED) -> str:
    """Return `plain` or `triton` for an operation on the device of a tensor.

    Args:
        kernel: A key of `CHOICES`.
        x: One of its inputs.
        dtype: The type that it computes with, as `CHOICES` names it.
        use: `measured`: as `CHOICES` says, and `plain` where Triton cannot run. `plain` or
            `triton`: that form, whatever was measured; a kernel that cannot run then fails.
    """
    if use != MEASURED:
        return use
    rows = CHOICES[kernel]
    if dtype not in _TYPES or not is_available(x):
        return 'plain'
    return rows.get(choice_key(x.device, dtype), rows['other'])


def pixel_attention(query: Tensor, keys: tuple[Tensor, Tensor, Tensor], value: Tensor,
                    other_value: Tensor, value_noise: Tensor, alpha: Tensor, beta: Tensor, *,
                    heads: int, use: str = MEASURED) -> Tensor:
    """Return `plain.pixel_attention`, by the form that is faster here; it can be trained through.

    The arguments are those of `plain.pixel_attention`; `use` as in `chosen`.
    """
    if chosen('pixel_attention', query, query.dtype, use) == 'triton':
        from diffpixel_core.kernels import triton_attention

        return triton_attention.pixel_attention(query, keys, value, other_value, value_noise,
                                                alpha, beta, heads=heads)
    return plain.pixel_attention(query, keys, value, other_value, value_noise, alpha, beta,
                                 heads=heads)


def gates(a: Tensor, f: Tensor, s: Tensor, *, use: str = MEASURED) -> Tensor:
    """Return `plain.gates`, by the form that is faster here; `use` as in `chosen`."""
    if _chosen_without_gradient('gates', use, a, f, s) == 'triton':
        from diffpixel_core.kernels import triton_gates

        return triton_gates.gates(a, f, s)
    return plain.gates(a, f, s)


def enlarge_argmax(scores: Tensor, size: tuple[int, int], *,
                   use: str = MEASURED) -> tuple[Tensor, Tensor]:
    """Return `plain.enlarge_argmax`, by the form that is faster here.

    The arguments are those of `plain.enlarge_argmax`; `use` as in `chosen`.
    """
    if chosen('enlarge_argmax', scores, scores.dtype, use) == 'triton':
        from diffpixel_core.kernels import triton_tail

        return triton_tail.enlarge_argmax(scores, size)
    return plain.enlarge_argmax(scores, size)


def prepare_images(rgb: Tensor, x: Tensor, size: tuple[int, int], *, mean: Tensor, std: Tensor,
                   maximum: float, dtype: torch.dtype, use: str = MEASURED) -> Tensor:
    """Return `plain.prepare_images`, by the form that is faster here.

    The arguments are those of `plain.prepare_images`; `use` as in `chosen`.
    """
    if chosen('prepare_images', rgb, dtype, use) == 'triton':
        from diffpixel_core.kernels import triton_images

        return triton_images.prepare_images(rgb, x, size, mean=mean, std=std, maximum=maximum,
                                            dtype=dtype)
    return plain.prepare_images(rgb, x, size, mean=mean, std=std, maximum=maximum, dtype=dtype)


def add_norm(x: Tensor, branch: Tensor | None, weight: Tensor, bias: Tensor,
             eps: float = 1e-6, *, use: str = MEASURED) -> tuple[Tensor, Tensor]:
    """Return `plain.add_norm`, by the form that is faster here.

    The arguments are those of `plain.add_norm`; `use` as in `chosen`.
    """
    inputs = (x, weight, bias) if branch is None else (x, branch, weight, bias)
    if _chosen_without_gradient('add_norm', use, *inputs) == 'triton':
        from diffpixel_core.kernels import triton_norm

        return triton_norm.add_norm(x, branch, weight, bias, eps)
    return plain.add_norm(x, branch, weight, bias, eps)


def depthwise_gelu(tokens: Tensor, size: tuple[int, int], weight: Tensor, bias: Tensor, *,
                   use: str = MEASURED) -> Tensor:
    """Return `plain.depthwise_gelu`, by the form that is faster here.

    The arguments are those of `plain.depthwise_gelu`; `use` as in `chosen`.
    """
    if _chosen_without_gradient('depthwise_gelu', use, tokens, weight, bias) == 'triton':
        from diffpixel_core.kernels import triton_depthwise

        return triton_depthwise.depthwise_gelu(tokens, size, weight, bias)
    return plain.depthwise_gelu(tokens, size, weight, bias)


def _chosen_without_gradient(kernel: str, use: str, *inputs: Tensor) -> str:
    """Return `chosen` for an operation whose kernel has no backward.

    Where a gradient is wanted, that is `plain`; a kernel asked for by name asserts that none is.
    """
    if use == MEASURED and torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        return 'plain'
    return chosen(kernel, inputs[0], inputs[0].dtype, use)


@cache
def _has_triton() -> bool:
    return find_spec('triton') is not None


@cache
def _architecture(device: torch.device) -> str:
    major, minor = torch.cuda.get_device_capability(device)
    return f'sm_{major}{minor}'
