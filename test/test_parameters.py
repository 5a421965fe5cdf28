# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one table, declared, checked and documented from it."""

import dataclasses
from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy')

from rcl_interfaces.msg import ParameterType
from rclpy.parameter import Parameter

from diffpixel_ros.parameters import (
    NodeParameters,
    ParameterError,
    check_names,
    descriptor,
    judge,
    parameter_fields,
    widened,
    with_values,
)

CONFIG = Path(__file__).resolve().parents[1] / 'config' / 'segment.yaml'


def test_shipped_yaml_holds_every_parameter_with_its_default() -> None:
    rows = yaml.safe_load(CONFIG.read_text())['/**']['ros__parameters']
    assert rows == dataclasses.asdict(NodeParameters())
    assert list(rows) == list(parameter_fields())
    assert {name: type(value) for name, value in rows.items()} \
        == {name: row.type for name, row in parameter_fields().items()}


def test_every_parameter_is_described_and_every_number_ranged() -> None:
    for name, row in parameter_fields().items():
        shown = descriptor(row)
        assert len(shown.description) > 10, name
        assert bool(shown.floating_point_range) == (row.type is float), name
        assert bool(shown.integer_range) == (row.type is int), name
        assert shown.read_only == (row.metadata['when'] == 'read_only'), name
        assert row.metadata['when'] in ('live', 'configure', 'read_only'), name


@pytest.mark.parametrize(('name', 'value', 'named'), [
    ('sync_slop', -0.1, 'between 0.0 and 1.0 s'), ('sync_slop', float('nan'), 'nan'),
    ('sync_slop', 'much', 'must be a float'), ('sync_queue', 0, 'between 1 and 50'),
    ('sync_queue', 2.0, 'must be a int'), ('sync_queue', True, 'must be a int'),
    ('input_qos', 'sometimes', 'best_effort'), ('autostart', 1, 'must be a bool'),
    ('model_path', 3, 'must be a str'), ('backend', 'tensorflow', 'auto, torch, openvino'),
    ('precision', 'fp64', 'auto, fp32, bf16, fp16, int8'),
])
def test_wrong_value_is_refused_by_name(name: str, value: object, named: str) -> None:
    with pytest.raises(ParameterError, match=named) as caught:
        with_values(NodeParameters(), {name: value})  # type: ignore[dict-item]
    assert name in str(caught.value)


def test_depth_limits_must_not_cross() -> None:
    limits = with_values(NodeParameters(), {'depth_min': 0.5, 'depth_max': 4.0})
    with pytest.raises(ParameterError, match='above depth_min'):
        with_values(limits, {'depth_max': 0.4})
    with pytest.raises(ParameterError, match='above depth_min'):
        with_values(limits, {'depth_min': 4.0})


def test_whole_number_is_fine_where_a_float_is_due() -> None:
    assert with_values(NodeParameters(), {'stale_timeout': 3}).stale_timeout == 3.0
    set_by_hand = widened([Parameter('stale_timeout', value=3), Parameter('sync_queue', value=3)])
    assert [p.get_parameter_value().type for p in set_by_hand] \
        == [ParameterType.PARAMETER_DOUBLE, ParameterType.PARAMETER_INTEGER]


def test_unknown_name_is_reported_with_the_nearest() -> None:
    assert check_names(['model_pth']) == ["parameter 'model_pth' does not exist; did you mean "
                                          "'model_path'?"]
    assert 'sync_slop' in check_names(['xyz'])[0]
    assert check_names([*parameter_fields(), 'use_sim_time',
                        'qos_overrides./rgb/image_raw.subscription.depth']) == []


def test_change_is_judged_with_a_reason() -> None:
    assert judge(NodeParameters(), [Parameter('depth_max', value=3.0)]).successful
    verdict = judge(NodeParameters(depth_max=2.0), [Parameter('depth_min', value=3.0)])
    assert not verdict.successful
    assert 'depth_min' in verdict.reason
