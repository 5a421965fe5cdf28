# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node: RGB-D topics in, label images out."""
