# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""How the threads of numerical libraries behave on a machine they share with others."""

import os


def let_waiting_threads_sleep() -> None:
    """Ask OpenMP threads that wait to sleep instead of spinning; call it before torch is imported.

    GNU OpenMP spins by default, and every thread that runs a network has a pool of its own. On two
    busy cores such pools starved each other: up to 4.8 s for an inference of 20 ms, and 20 to 36 s
    for a training step of 1.1 s. A policy the user has set is left alone.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
