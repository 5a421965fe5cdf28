# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Named defaults of a training run, chosen with the key `recipe`; YAML and flags override them.

`fixed` is ours and is what the settings default to: a schedule that follows the run's length,
averaged weights, clipping, a trained ensemble weight. Its rate lies between the two published ones.

`paper` is the text of DiffPixelFormer (arXiv 2511.13047, section IV-B): AdamW at 2e-4, drop path
0.4, everything else "as TokenFusion". `released` is what its published code does.

Readings where the sources are silent or cannot be meant:
 * Batch. Both say 2 per GPU; the README's command uses 8 GPUs, so `batch`, which counts the frames
   of a step over all devices, is 16.
 * Horizon. The published schedule is drawn for 40,000 iterations, 1,500 of them warm-up, and starts
   anew in each of three stages of 100 epochs. The README's commands run 4,900 iterations per
   stage, so the rate never falls below 88 % of its peak; with its 80 frames a step they run 900
   and never leave warm-up. Both recipes take the shape for what it says, 3.75 % warm-up and then
   down to 0, over the length that is really run: of a stage (`released`), of the run (`paper`).
 * After the warm-up the published rate drops from its peak to 96.25 % of it at once; ours starts
   its way down at the peak.
 * Stages. The paper names one rate and no stages: `paper` has one.
 * Each published stage starts a new optimiser; ours keeps its moments.
 * Decay. The published groups spare parameters named "norm" only; ours spare biases, factors and
   noise tokens, too, see `train.optimise`.
 * Ensemble. Published code leaves its two weights out of the optimiser, which makes the ensemble a
   plain mean: `released` keeps them still. The paper calls them learnable: `paper` trains them.
 * Batch norm. Published code keeps the statistics of the decoder's norm as they are, at 0 and 1 in
   a fresh decoder, and trains scale and shift: `batch_norm: frozen`.
 * Rounding. Both train in float32; on a GPU ours rounds the factors of products to TF32 unless
   `tf32` is false.
 * Colour jitter. The published one blackens what it touches; its ranges are kept, its fault is not.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_PUBLISHED: Mapping[str, Any] = MappingProxyType({
    'batch': 16,
    'epochs': 300.0,
    'drop_path': 0.4,
    'precision': '32-true',
    'batch_norm': 'frozen',
    'optimiser': {
        'betas': [0.9, 0.999], 'eps': 1e-8, 'weight_decay': 0.01, 'head_lr_factor': 10.0,
        'warmup': 1500 / 40_000, 'schedule': 'poly', 'power': 1.0, 'final_lr_fraction': 0.0,
        'clip_norm': 0.0, 'ema': 0.0,
    },
    'augment': {
        'flip': 0.5, 'scale': [0.5, 2.0], 'scale_draw': 'uniform', 'jitter': 0.2,
        'jitter_kind': 'published', 'grey': 0.0, 'blur': 0.2, 'blur_kind': '3x3', 'noise': 0.0,
        'jpeg': 0.0, 'depth_noise': 0.0, 'holes': 0.0, 'depth_scale': 0.0, 'drop_depth': 0.0,
        'drop_colour': 0.0,
    },
    'loss': {'stride': 1, 'label_smoothing': 0.0, 'class_weights': 'none'},
})


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings in which those of `above` count; of `below` what it leaves open."""
    result = dict(below)
    for key, value in above.items():
        earlier = result.get(key)
        result[key] = (merged(earlier, value) if isinstance(earlier, Mapping)
                       and isinstance(value, Mapping) else value)
    return result


RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    'fixed': {},
    'paper': merged(_PUBLISHED, {'optimiser': {'lr': 2e-4}}),
    'released': merged(_PUBLISHED, {'optimiser': {'lr': 6e-5, 'schedule': 'released',
                                                  'ensemble_lr_factor': 0.0}}),
})
"""Settings by recipe, nested as in a YAML."""
