# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: runs node and bag, checks and scores every output, writes the report."""
