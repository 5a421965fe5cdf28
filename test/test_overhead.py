# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The measurement of the overhead: its arithmetic, and one short combination of it."""

from pathlib import Path

import pytest
from rich.console import Console

rclpy = pytest.importorskip('rclpy')

from diffpixel_ros.measure.camera_process import CameraError, CameraSettings, Shot  # noqa: E402
from diffpixel_ros.measure.overhead import (  # noqa: E402
    Combination,
    Overhead,
    figures,
    measure_all,
    overhead_table,
)

MS = 1_000_000


@pytest.fixture(autouse=True)
def _logs_go_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')


def test_overhead_is_the_time_from_the_later_image_without_the_network() -> None:
    shots = [Shot(stamp, stamp * MS, (stamp + 1) * MS) for stamp in range(0, 3000, 30)]
    received = {shot.stamp_ns: shot.depth_ns + 25 * MS for shot in shots}
    timings = {shot.stamp_ns: {'queue': 0.0, 'network': 15.0, 'tail': 4.0, 'own': 2.0}
               for shot in shots}
    late = shots[-1].stamp_ns
    received[late] += 100 * MS
    result = figures(shots, received, timings)
    assert result['overhead_ms']['p50'] == pytest.approx(6.0)
    assert result['overhead_ms']['p99'] > 6.0
    assert result['own_ms'] == pytest.approx({'p50': 2.0, 'p95': 2.0, 'p99': 2.0})
    assert result['stages_ms']['transport'] == pytest.approx(4.0)


def test_waiting_for_the_network_is_no_overhead() -> None:
    shots = [Shot(stamp, stamp * MS, stamp * MS) for stamp in range(0, 3000, 30)]
    received = {shot.stamp_ns: shot.depth_ns + 28 * MS for shot in shots}
    timings = {shot.stamp_ns: {'queue': 20.0, 'network': 5.0, 'tail': 1.0, 'own': 1.5}
               for shot in shots}
    result = figures(shots, received, timings)
    assert result['overhead_ms']['p99'] == pytest.approx(2.0)
    assert result['own_ms']['p99'] == pytest.approx(1.5)


def test_frames_of_the_warm_up_and_lost_ones_do_not_count() -> None:
    shots = [Shot(stamp, stamp * MS, stamp * MS) for stamp in (0, 500, 1000, 1500)]
    timings = {stamp: {'queue': 0.0, 'network': 0.0, 'tail': 0.0, 'own': 1.0}
               for stamp in (0, 500, 1000)}
    received = {0: 400 * MS, 500: 900 * MS, 1000: 1003 * MS, 1500: 1600 * MS}
    assert figures(shots, received, timings)['overhead_ms']['p99'] == pytest.approx(3.0)
    assert figures(shots, {}, timings) == {}
    assert figures([], {}, {}) == {}


def test_table_shows_what_was_lost() -> None:
    row = Overhead(Combination(640, 480, reliable=False, profile=False), sent=200, answered=90,
                   images_lost=150, superseded=10)
    assert row.lost == 100
    console = Console(width=160, record=True)
    console.print(overhead_table([row]))
    assert '50.0 %' in console.export_text()


def test_cameras_that_cannot_be_are_refused() -> None:
    for wrong in ({'width': 0}, {'rate_hz': 0.0}, {'rate_hz': float('nan')}, {'seconds': -1.0}):
        with pytest.raises(CameraError, match='cannot be'):
            CameraSettings(**wrong)


@pytest.mark.slow
def test_every_combination_is_measured_and_the_profile_loses_nothing() -> None:
    results = measure_all(3.0, sizes=((320, 240),))
    assert {(r.combination.profile, r.combination.reliable) for r in results} == {
        (profile, reliable) for profile in (True, False) for reliable in (True, False)}
    for result in results:
        assert result.sent == pytest.approx(90, abs=2)
        if result.combination.profile:
            assert result.images_lost == 0
            assert result.answered + result.superseded == result.sent
            assert 0 < result.own_ms['p50'] < result.overhead_ms['p50'] < 200
