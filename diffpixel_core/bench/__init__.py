# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Engines measured against two baselines, on this machine, in one run.

 * `published`: what the published code computes, operation by operation.
 * `eager`: our network as it was trained, nothing folded.

How it is measured and how to read it: docs/benchmarks.md.
"""
