# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Engines: the deployable graph on one device, in one of several runtimes.

Each runtime is imported when an engine of it is made, not before.
"""

from diffpixel_core.engines.engine import ENGINES, Engine, EngineError
from diffpixel_core.engines.loading import load_engine, load_next_best
from diffpixel_core.engines.torch_engine import TorchEngine

__all__ = ['ENGINES', 'Engine', 'EngineError', 'TorchEngine', 'load_engine', 'load_next_best']
