# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a graph that was converted, or built, still computes what the network was trained to."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from diffpixel_core.checkpoints import Manifest
from diffpixel_core.deploy import DeployGraph, Ensemble, network_size
from diffpixel_core.engines.engine import EngineError

Scores = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.float32]], Tensor]
"""`(B, H, W, 3)` uint8 and `(B, H, W)` float32 -> `(B, K, h, w)` on any device."""


@torch.inference_mode()
def require_same_scores(scores: Scores, model: nn.Module, manifest: Manifest,
                        shape: tuple[int, ...], *, name: str, tolerance: float) -> None:
    """Compare scores with those of the network as it was trained, on frames of random pixels.

    Args:
        scores: What is to be compared.
        model: The network, in eval mode, float32 on the CPU.
        manifest: Its manifest.
        shape: `(B, H, W)` of the frames.
        name: Of the engine, for the error.
        tolerance: Largest error of all scores together, as a share of them.

    Raises:
        EngineError: If it is larger.
    """
    draw = np.random.default_rng(0)
    rgb = draw.integers(0, 256, (*shape, 3), dtype=np.uint8)
    x = draw.uniform(0.5, 8, shape).astype(np.float32)
    trained = DeployGraph(Ensemble(model), manifest.normalisation,
                          network_size((shape[-2], shape[-1]), manifest.input_size)).eval()
    wanted = trained(torch.from_numpy(rgb), torch.from_numpy(x))
    error = float((scores(rgb, x).cpu() - wanted).norm() / wanted.norm())
    if not error <= tolerance:  # nor is NaN
        raise EngineError(f'the graph made for {name} does not compute what the network does: its '
                          f'scores are off by {error:.1%}; use another engine, and report this')
