# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The launch file; all but the first test need `launch`, that is a full ROS 2 installation."""

import ast
import runpy
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / 'launch' / 'segment.launch.py'
ARGUMENTS = {'camera', 'rgb_topic', 'depth_topic', 'info_topic', 'namespace', 'params_file',
             'model_path', 'use_sim_time', 'autostart', 'shm_profile', 'log_level'}


def test_every_argument_is_declared_and_read() -> None:
    """Needs no `launch`: reads the file's syntax tree."""
    calls = [node for node in ast.walk(ast.parse(FILE.read_text())) if isinstance(node, ast.Call)]
    declared = {call.args[0].value for call in calls
                if isinstance(call.func, ast.Name) and call.func.id == 'DeclareLaunchArgument'
                and isinstance(call.args[0], ast.Constant)}
    texts = [node.value for node in ast.walk(ast.parse(FILE.read_text()))
             if isinstance(node, ast.Constant)]
    assert declared == ARGUMENTS
    assert all(texts.count(name) >= 2 for name in ARGUMENTS)


def test_profile_gives_shared_memory_for_whole_images() -> None:
    tree = ET.parse(ROOT / 'config' / 'fastdds.xml').getroot()
    text = {node.tag.split('}')[1]: node.text for node in tree.iter()}
    assert int(text['segment_size'] or 0) >= 32 * 2**20
    assert int(text['maxMessageSize'] or 0) >= 1920 * 1080 * 3
    assert text['useBuiltinTransports'] == 'false'


@pytest.fixture
def node() -> Any:
    pytest.importorskip('launch_ros')
    launch = pytest.importorskip('launch')
    description = runpy.run_path(str(FILE))['generate_launch_description']()

    def build(**arguments: str) -> tuple[Any, Any]:
        context = launch.LaunchContext()
        context.launch_configurations.update(arguments)
        for entity in description.entities[:-1]:
            entity.execute(context)
        return description.entities[-1].execute(context)[0], context
    return build


def test_realsense_preset_maps_the_drivers_topics(node: Any) -> None:
    action, context = node(camera='realsense')
    action._perform_substitutions(context)
    assert ('depth/image_raw', '/camera/camera/aligned_depth_to_color/image_raw') \
        in action.expanded_remapping_rules


def test_topic_given_by_hand_wins_over_the_preset(node: Any) -> None:
    action, context = node(camera='kinect', rgb_topic='/mine')
    action._perform_substitutions(context)
    assert ('rgb/image_raw', '/mine') in action.expanded_remapping_rules
