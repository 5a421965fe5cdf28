# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The node as a process of its own, and the other end of its topics."""
