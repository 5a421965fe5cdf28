# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the loader keeps up: images per second of a recipe beside a plain loop of its network.

`python -m diffpixel_core.training_speed --config YAML [--steps N] [--json FILE]` measures, in turns
in one run, on one device:

 * the pipeline: loader, augmentation, our step with clipping and averaged weights;
 * a plain loop: the same network, loss and optimiser on one batch that is already on the device,
   no loader and no processes of one;

and besides the loader alone, by number of its processes.
"""
