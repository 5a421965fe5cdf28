# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A trained model as an engine for one runtime, checked against the network it came from."""
