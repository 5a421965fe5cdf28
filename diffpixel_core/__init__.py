# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""RGB-D semantic segmentation without ROS: networks, runtimes, data and training.

Importing this package is cheap: torch is imported when a model is first loaded.
"""

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.frame import Frame, FrameError
from diffpixel_core.segmenter import Segmentation, Segmenter, load_segmenter
from diffpixel_core.version import __version__

__all__ = [
           'DiffPixelError',
           'Frame',
           'FrameError',
           'Segmentation',
           'Segmenter',
           '__version__',
           'load_segmenter',
]
