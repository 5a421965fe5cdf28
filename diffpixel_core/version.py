# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The version of the program, as result files record it."""

__version__ = '0.1.0'
