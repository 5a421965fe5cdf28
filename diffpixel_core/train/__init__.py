# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Training: one loop on Lightning Fabric, resumable (on a CPU to the bit), safe to interrupt.

A run's folder holds `config.yaml` (resolved), `environment.json` (versions, devices, seed,
commit), `metrics.csv`, TensorBoard events, `last.ckpt` (everything needed to go on) and the models
`best` and `final`.
"""

from diffpixel_core.train.guard import TrainError, TrainingInterruptedError
from diffpixel_core.train.run import train

__all__ = ['TrainError', 'TrainingInterruptedError', 'train']
