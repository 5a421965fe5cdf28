# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Few threads, for the machine has two cores; tests marked `gpu` only where there is a GPU."""

import os

import pytest

os.environ.setdefault('OMP_NUM_THREADS', '2')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none, also when no marker was selected."""
    import torch  # after the number of threads is set

    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker('gpu'):
            item.add_marker(pytest.mark.skip(reason='needs a CUDA device'))
