# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the node costs and withstands: `python -m diffpixel_ros.measure.overhead` and `.soak`."""
