# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The commands of `diffpixel`, one file each: `ABOUT`, `add_arguments`, `run`.

Each imports what it needs when it runs; asking for help imports nothing heavy.
"""
