# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""How the threads of numerical libraries behave on a machine they share with others."""

import os

# GNU OpenMP counts this many looks at a lock before a waiting thread sleeps: some 50 microseconds.
_SPINS = 5000


def let_waiting_threads_sleep() -> None:
    """Ask OpenMP threads that wait to sleep soon; call it before torch is imported.

    GNU OpenMP spins for milliseconds by default, and every thread that runs a network has a pool of
    its own: on two busy cores such pools starved each other, up to 4.8 s for an inference. Sleeping
    at once costs a wake-up at each of a network's few hundred operations. Measured on 2 cores,
    `diffpixelformer_t` at 240x320, milliseconds, idle and beside two busy processes: default 82 and
    424, sleeping at once 133 and 389, this 76 and 292 (medians of two or three runs idle, of one
    busy). Settings of the user are left alone.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    os.environ.setdefault('GOMP_SPINCOUNT', str(_SPINS))
