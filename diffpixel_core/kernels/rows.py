# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Tokens and weights as the kernels address them."""

import torch
from torch import Tensor


def token_rows(tokens: Tensor) -> Tensor:
    """Return `(2, B, N, C)` tokens as `(2, B N, C)` with neighbouring channels side by side.

    A view of what a product over all tokens or a part of its channels is; else a copy.
    """
    rows = tokens.reshape(2, -1, tokens.shape[-1])
    return rows if rows.stride(-1) == 1 else rows.contiguous()


def assert_no_gradient(*tensors: Tensor) -> None:
    """Assert that nothing is to learn through a kernel that has no backward."""
    assert not (torch.is_grad_enabled() and any(x.requires_grad for x in tensors)), \
        'this kernel has no backward: use the plain form, or the function of kernels.dispatch'


def taps_apart(weight: Tensor) -> Tensor:
    """Return `(C, 1, 3, 3)` weights as `depthwise_gelu` reads them fastest: the same numbers.

    In memory the channels of one tap lie side by side.
    """
    return weight.reshape(-1, 9).T.contiguous().T.view(weight.shape)
