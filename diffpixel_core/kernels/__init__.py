# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The few operations worth a GPU kernel of their own, each beside the plain form that defines it.

    plain           what each operation is, in PyTorch; runs everywhere, and is the truth
    triton_*        the same as Triton kernels, forward (`triton_attention` also backward)
    dispatch        which of the two is taken: a table that only measurements fill
    measure         `python -m diffpixel_core.kernels.measure`: the measurements, on a GPU

Triton is imported only when a kernel is about to run.
"""

from diffpixel_core.kernels.dispatch import (
    CHOICES,
    MEASURED,
    add_norm,
    chosen,
    depthwise_gelu,
    enlarge_argmax,
    gates,
    is_available,
    pixel_attention,
    prepare_images,
)
from diffpixel_core.kernels.rows import taps_apart

__all__ = ['CHOICES', 'MEASURED', 'add_norm', 'chosen', 'depthwise_gelu', 'enlarge_argmax',
           'gates', 'is_available', 'pixel_attention', 'prepare_images', 'taps_apart']
