# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Foreign weights, converted once: strict, and with a report of what became of every tensor."""
