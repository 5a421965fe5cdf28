# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Few threads, for the machine has two cores; tests marked `gpu` only where there is a GPU."""

import os
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with random weights that works at 32x48 pixels, in the classes of NYUDv2."""
    from diffpixel_core.tiny_model import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp('tiny') / 'model',
                           network='diffpixelformer_t', label_space='nyu40')


@pytest.fixture(scope='session', autouse=True)
def _converted_graphs_go_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what engines convert and keep out of the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='session', autouse=True)
def _ros_logs_go_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the logs of ROS nodes out of the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_LOG_DIR', str(tmp_path_factory.mktemp('ros_log')))
        yield
