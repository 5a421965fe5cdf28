# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights into the backbone of a model, from a file or by the name of a repository."""

from torch import nn

from diffpixel_core.converters.files import read_tensors
from diffpixel_core.converters.hub import fetch_weights
from diffpixel_core.converters.segformer import segformer_weights
from diffpixel_core.converters.swin import swin_weights
from diffpixel_core.converters.tensors import Report
from diffpixel_core.models.mit import MitEncoder


def load_backbone(model: nn.Module, source: str) -> Report:
    """Return what became of each tensor of the weights now in both streams of `model`.

    Args:
        model: A `DiffPixelFormer`; changed in place. Fusion, head and ensemble weights stay.
        source: A file, a directory or a repository of the Hugging Face Hub, see `fetch_weights`:
            a SegFormer MiT or a Swin, as the model is built on.

    Raises:
        ConvertError: If the weights cannot be had, are of another kind, or do not fit.
    """
    path = fetch_weights(source)
    weights = segformer_weights if isinstance(model.encoder, MitEncoder) else swin_weights
    tensors, report = weights(read_tensors(path), model, name=source)
    model.load_state_dict(tensors)
    return report
