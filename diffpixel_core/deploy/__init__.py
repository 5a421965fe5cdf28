# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""From a trained network to what runs on a robot: one graph, its exact folds, one tail."""

from diffpixel_core.deploy.folds import fold
from diffpixel_core.deploy.fused import fuse, fuse_fusions
from diffpixel_core.deploy.graph import DeployGraph, Ensemble, NetworkInputs, network_size
from diffpixel_core.deploy.tail import cpu_tail, reference_tail

__all__ = ['DeployGraph', 'Ensemble', 'NetworkInputs', 'cpu_tail', 'fold', 'fuse', 'fuse_fusions',
           'network_size', 'reference_tail']
