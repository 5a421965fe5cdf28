# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The soak: its arithmetic, and a short run of it."""

from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from diffpixel_ros.measure.soak import SoakError, run_soak, slope_per_hour, unexplained  # noqa: E402

_NONE = dict.fromkeys(('colour_in', 'depth_in', 'pairs', 'alone', 'frames_out', 'in_flight',
                       'waiting', 'resets'), 0)


@pytest.fixture(autouse=True)
def _logs_go_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')


def test_slope_is_that_of_the_line_after_the_warm_up() -> None:
    seconds = np.arange(0, 3600, 10.0)
    values = 100 + 3 * seconds / 3600
    values[seconds < 300] = 7  # a start that would tilt the line
    slope, error = slope_per_hour(seconds, values)
    assert slope == pytest.approx(3.0)
    assert error == pytest.approx(0.0, abs=1e-6)


def test_standard_error_is_that_of_repeated_measurements() -> None:
    rng = np.random.default_rng(0)
    seconds = np.arange(0, 600, 2.0)
    fits = [slope_per_hour(seconds, rng.normal(0, 1, seconds.size)) for _ in range(400)]
    slopes, errors = np.array(fits).T
    assert np.std(slopes) == pytest.approx(errors.mean(), rel=0.15)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(SoakError, match='too few'):
        slope_per_hour([0.0, 1.0, 2.0], [1.0, 1.0, 1.0])
    with pytest.raises(SoakError, match='too few'):
        slope_per_hour([], [])


def test_what_no_counter_explains_is_counted() -> None:
    whole = _NONE | {'colour_in': 12, 'depth_in': 11, 'pairs': 10, 'frames_out': 7, 'in_flight': 1,
                     'waiting': 1}
    drops = {'superseded': 2, 'unpaired': 1, 'bad_data': 1, 'transport_lost': 5}
    assert unexplained(whole, drops) == 0
    assert unexplained(whole | {'frames_out': 6}, drops) == 1
    assert unexplained(whole | {'colour_in': 13}, drops) == 1
    assert unexplained(whole, drops | {'superseded': 0}) == 2


@pytest.mark.slow
def test_twenty_seconds_at_full_rate_are_accounted_for() -> None:
    soak = run_soak(20.0)
    assert soak.pairs_sent == pytest.approx(600, abs=2)
    assert soak.unexplained == 0
    assert soak.drops.get('transport_lost', 0) == soak.drops.get('output_lost', 0) == 0
    assert soak.answered == soak.counters['frames_out']
    assert soak.answered + soak.drops.get('superseded', 0) == soak.pairs_sent
    rss = [sample.rss_mib for sample in soak.samples]
    assert 50 < min(rss) <= max(rss) < 4000
    assert max(rss[len(rss) // 2:]) - min(rss[len(rss) // 2:]) < 100, 'not a leak of whole images'
