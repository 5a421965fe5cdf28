# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Keep every test to few threads: the machine has two cores and tests run beside one another."""

import os

os.environ.setdefault('OMP_NUM_THREADS', '2')
