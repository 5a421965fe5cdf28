# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The node's life: transitions asked for in every order, parameters set in every state."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diffpixel_ros.parameters import NodeParameters, parameter_fields
from ros_harness import camera_pair, running_node

# What a lifecycle node may do; source: https://design.ros2.org/articles/node_lifecycle.html
LEGAL = {
    ('unconfigured', 'configure'): 'inactive', ('inactive', 'activate'): 'active',
    ('active', 'deactivate'): 'inactive', ('inactive', 'cleanup'): 'unconfigured',
}
LIVING = ['configure', 'activate', 'deactivate', 'cleanup']


def test_transitions_in_any_order_do_what_the_state_machine_allows(
        tiny_model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    combinations = {(state, name) for state in ('unconfigured', 'inactive', 'active')
                    for name in LIVING}
    with running_node(tmp_path, model_path=tiny_model) as (node, client):
        state = 'unconfigured'
        for _ in range(200):
            name = str(rng.choice(LIVING))
            expected = LEGAL.get((state, name))
            assert client.change_state(name) == (expected is not None), (state, name)
            combinations.discard((state, name))
            state = expected or state
            assert client.state == state, name
            if (name, state) == ('activate', 'active') and expected:
                client.listen('/semantic')
                assert client.connected()
                assert client.answers(*camera_pair(float(rng.integers(1000)))) is not None
            if not combinations:
                break
        assert not combinations
        assert client.change_state(f'{state}_shutdown')
        assert client.state == 'finalized'
        for name in (*LIVING, 'unconfigured_shutdown', 'active_shutdown'):
            assert not client.change_state(name), name
        assert node.alive
        assert 'Traceback' not in node.text


def test_every_parameter_refuses_what_is_out_of_range_in_every_state(
        tiny_model: Path, tmp_path: Path) -> None:
    def wrong_values() -> list[tuple[str, object]]:
        values: list[tuple[str, object]] = []
        for name, row in parameter_fields().items():
            facts = row.metadata
            if facts['lowest'] is not None:
                values += [(name, row.type(facts['lowest'] - 1)),
                           (name, row.type(facts['highest'] + 1))]
            if facts['choices'] and row.type is str:
                values.append((name, 'nonsense'))
            if facts['when'] == 'read_only':
                values.append((name, row.default))
            values.append((name, [1, 2]))
        return values

    with running_node(tmp_path, model_path=tiny_model) as (node, client):
        for transition in (None, 'configure', 'activate'):
            if transition is not None:
                assert client.change_state(transition), node.text
            for name, value in wrong_values():
                accepted, reason = client.set_parameter(name, value)
                assert not accepted, (name, value)
                assert reason, (name, value)
        client.listen('/semantic')
        assert client.connected()
        assert client.answers(*camera_pair(1.0)) is not None
        assert 'Traceback' not in node.text


def test_live_parameters_take_every_legal_value_while_images_come(
        tiny_model: Path, tmp_path: Path) -> None:
    live = {name: row for name, row in parameter_fields().items()
            if row.metadata['when'] == 'live' and name != 'publish_rate_max'}
    with running_node(tmp_path, model_path=tiny_model, autostart='true') as (node, client):
        assert client.wait(lambda: 'now active' in node.text, 60.0), node.text
        client.listen('/semantic')
        assert client.connected()
        stamp_s = 10.0
        for name, row in live.items():
            facts = row.metadata
            values = facts['choices'] or (facts['lowest'], facts['highest'])
            for value in (*values, row.default):
                kept = row.type(value)
                if (name, kept) in (('depth_min', 100.0), ('missing_depth', 'drop')):
                    continue  # contradicts depth_max; takes what has no depth, tested elsewhere
                assert client.set_parameter(name, kept) == (True, ''), (name, kept)
                if name == 'max_age' and kept:
                    continue  # these images are from 1970
                stamp_s += 1.0
                assert client.answers(*camera_pair(stamp_s)) is not None, (name, kept)
        assert 'Traceback' not in node.text


def test_change_that_waits_for_configure_waits(tiny_model: Path, tmp_path: Path) -> None:
    with running_node(tmp_path, model_path=tiny_model, autostart='true') as (node, client):
        assert client.wait(lambda: 'now active' in node.text, 60.0), node.text
        client.listen('/semantic')
        assert client.connected()
        assert client.set_parameter('label_encoding', '16UC1') == (True, '')
        answer = client.answers(*camera_pair(1.0))
        assert answer is not None
        assert answer.encoding == NodeParameters().label_encoding
        for transition in ('deactivate', 'cleanup', 'configure', 'activate'):
            assert client.change_state(transition)
        assert client.connected()
        answer = client.answers(*camera_pair(2.0))
        assert answer is not None
        assert answer.encoding == '16UC1'
