# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A model that is fast and knows nothing, for measuring and testing everything but the model."""

from pathlib import Path

import torch

from diffpixel_core.checkpoints import Manifest, save_model
from diffpixel_core.models import build_model

TINY_SIZE = (32, 48)  # height, width of the network's input, pixels
_NETWORK, _SPACE = 'diffpixelformer_t/baseline', 'nyu13'
TINY_MODEL = f'{_NETWORK} on {TINY_SIZE[1]}x{TINY_SIZE[0]} pixels, random weights, {_SPACE}'


def save_tiny_model(folder: Path, *, network: str = _NETWORK, label_space: str = _SPACE) -> Path:
    """Write the model into a folder, which is made if need be, and return the folder."""
    torch.manual_seed(0)
    manifest = Manifest(network, label_space, input_size=TINY_SIZE)
    return save_model(folder, build_model(manifest.model, classes=manifest.classes), manifest)
