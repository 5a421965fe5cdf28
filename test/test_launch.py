# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The launch file and the settings it ships with.

Tests with the fixture `start` need `launch`, that is a full ROS 2 installation.
"""

import ast
import os
import re
import runpy
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'config'
FILE = ROOT / 'launch' / 'segment.launch.py'
ARGUMENTS = {'camera', 'rgb_topic', 'depth_topic', 'info_topic', 'namespace', 'params_file',
             'model_path', 'use_sim_time', 'autostart', 'shm_profile', 'log_level'}
# Colour, its info, depth and its info, as the drivers publish them.
# Source: README.md of realsense-ros, r/4.56.1; src/k4a_ros_device.cpp of Azure_Kinect_ROS_Driver,
# 6ffb95a; orbbec_camera/src of OrbbecSDK_ROS2, a7ccc5c4; openni2_camera/launch, 215a85c.
PRESETS = {
    'custom': ('rgb/image_raw', 'rgb/camera_info', 'depth/image_raw', 'depth/camera_info'),
    'realsense': ('/camera/camera/color/image_raw', '/camera/camera/color/camera_info',
                  '/camera/camera/aligned_depth_to_color/image_raw',
                  '/camera/camera/aligned_depth_to_color/camera_info'),
    'azure_kinect': ('/rgb/image_raw', '/rgb/camera_info', '/depth_to_rgb/image_raw',
                     '/depth_to_rgb/camera_info'),
    'orbbec': ('/camera/color/image_raw', '/camera/color/camera_info', '/camera/depth/image_raw',
               '/camera/depth/camera_info'),
    'kinect': ('/camera/rgb/image_raw', '/camera/rgb/camera_info',
               '/camera/depth_registered/image_raw', '/camera/depth_registered/camera_info'),
}
Start = Callable[..., list[Any]]


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
    tree = ET.parse(CONFIG / 'fastdds.xml').getroot()
    text = {node.tag.split('}')[1]: node.text for node in tree.iter()}
    assert int(text['segment_size'] or 0) >= 32 * 2**20
    assert int(text['maxMessageSize'] or 0) >= 1920 * 1080 * 3
    assert text['useBuiltinTransports'] == 'false'


def test_lifecycle_manager_leaves_nav2s_own_alone() -> None:
    rows = yaml.safe_load((CONFIG / 'nav2_lifecycle.yaml').read_text())
    assert list(rows) == ['lifecycle_manager_segment']
    assert rows['lifecycle_manager_segment']['ros__parameters'] == {
        'node_names': ['segment'], 'autostart': True, 'bond_timeout': 0.0, 'service_timeout': 30.0}


def test_rviz_layout_shows_topics_of_the_node() -> None:
    manager = yaml.safe_load((CONFIG / 'semantic.rviz').read_text())['Visualization Manager']
    shown = [(display['Class'].removeprefix('rviz_default_plugins/'), display['Topic'])
             for display in manager['Displays'] if 'Topic' in display]
    published = (ROOT / 'diffpixel_ros' / 'outputs.py').read_text()
    assert {kind for kind, _ in shown} == {'Image', 'PointCloud2'}
    for _, topic in shown:
        assert f"'{topic['Value'].removeprefix('/')}'" in published
        # Clouds are published best effort: a reliable subscriber would get none.
        assert topic['Reliability Policy'] == 'Best Effort'
    assert manager['Global Options']['Fixed Frame']


def test_the_guide_names_only_what_exists() -> None:
    guide = (ROOT / 'docs' / 'robot.md').read_text()
    known = yaml.safe_load((CONFIG / 'segment.yaml').read_text())['/**']['ros__parameters']
    settings = set(re.findall(r'`([a-z_]+): [^`]*`', guide)) - {'bond_timeout'}
    assert {'label_encoding', 'class_map', 'depth_registration'} <= settings <= known.keys()
    commands = ' '.join(re.findall(r'segment\.launch\.py([^\n`|]*)', guide))
    assert set(re.findall(r'(\w+):=', commands)) <= ARGUMENTS
    for name in re.findall(r'(?:CONFIG|config)>?/([\w.]+)', guide):
        assert (CONFIG / name).is_file(), name
    anchors = {re.sub(r'\W+', '-', line[3:].lower()) for line in guide.splitlines()
               if line.startswith('## ')}
    assert set(re.findall(r'\]\(#([\w-]+)\)', guide)) == anchors


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return what the launch file does with arguments: the actions, resolved."""
    pytest.importorskip('launch_ros')
    launch = pytest.importorskip('launch')
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
        monkeypatch.delenv(name, raising=False)
    description = runpy.run_path(str(FILE))['generate_launch_description']()

    def build(**arguments: str) -> list[Any]:
        context = launch.LaunchContext()
        context.launch_configurations.update(arguments)
        for entity in description.entities[:-1]:
            entity.execute(context)
        actions: list[Any] = description.entities[-1].execute(context)
        actions[-1]._perform_substitutions(context)
        return actions
    return build


def remappings(start: Start, **arguments: str) -> dict[str, str]:
    return dict(start(**arguments)[-1].expanded_remapping_rules or ())


def environment(start: Start, **arguments: str) -> dict[str, str]:
    pairs = start(**arguments)[-1].additional_env or ()
    return {''.join(part.text for part in name): ''.join(part.text for part in value)
            for name, value in pairs}


@pytest.mark.parametrize('camera', PRESETS)
def test_presets_map_the_drivers_topics(start: Start, camera: str) -> None:
    names = ('rgb/image_raw', 'rgb/camera_info', 'depth/image_raw', 'depth/camera_info')
    wanted = dict(zip(names, PRESETS[camera], strict=True))
    if camera == 'realsense':
        wanted['rgbd'] = '/camera/camera/rgbd'
    assert remappings(start, camera=camera) == {name: topic for name, topic in wanted.items()
                                                if name != topic}


def test_topics_given_by_hand_win_and_bring_their_neighbours(start: Start) -> None:
    rules = remappings(start, camera='kinect', rgb_topic='/mine/image')
    assert rules['rgb/image_raw'] == '/mine/image'
    assert rules['rgb/camera_info'] == '/mine/camera_info'
    assert rules['depth/image_raw'] == PRESETS['kinect'][2]
    rules = remappings(start, rgb_topic='/a/b', depth_topic='/c', info_topic='/d/info')
    assert (rules['rgb/camera_info'], rules['depth/camera_info']) == ('/d/info', '/camera_info')


@pytest.mark.parametrize(('name', 'topic', 'advice'), [
    ('rgb', '/a/b/compressed', 'rgb_topic:=/a/b and set rgb_transport: compressed '),
    ('depth', '/a/b/compressedDepth', 'depth_topic:=/a/b and set depth_transport: compressedDepth'),
])
def test_compressed_topics_are_a_parameter(start: Start, name: str, topic: str,
                                           advice: str) -> None:
    with pytest.raises(RuntimeError, match=advice):
        start(**{f'{name}_topic': topic})


def test_a_missing_params_file_is_an_error(start: Start, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r'none\.yaml does not exist'):
        start(params_file=str(tmp_path / 'none.yaml'))


def test_unknown_cameras_are_refused_with_the_known_ones(start: Start) -> None:
    with pytest.raises(RuntimeError, match='azure_kinect'):
        start(camera='zed')


def test_the_profile_is_given_unless_there_is_one(start: Start,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(environment(start).values()) == {str(CONFIG / 'fastdds.xml')}
    assert environment(start, shm_profile='false') == {}
    monkeypatch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', '/my/profile.xml')
    assert environment(start) == {}
    assert len(start()) == 2, 'and it says so'


def test_the_launched_node_becomes_active_with_the_cameras_topics(start: Start,
                                                                  tmp_path: Path) -> None:
    """In a prefix made for the test, since the package may not be installed."""
    del start  # only for its importorskip
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    executable = tmp_path / 'lib' / 'diffpixel_ros' / 'segment_node'
    for folder in (index, executable.parent):
        folder.mkdir(parents=True)
    (index / 'diffpixel_ros').touch()
    executable.write_text(f'#!/bin/sh\nexec {sys.executable} -m diffpixel_ros.node "$@"\n')
    executable.chmod(0o755)
    code = ('import sys, launch, launch.actions as a, launch.launch_description_sources as s\n'
            'service = launch.LaunchService()\n'
            'service.include_launch_description(launch.LaunchDescription([\n'
            '    a.IncludeLaunchDescription(s.PythonLaunchDescriptionSource(sys.argv[1]),\n'
            '        launch_arguments=[("camera", "realsense"), ("log_level", "info")])]))\n'
            'sys.exit(service.run())')
    paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
    prefixes = [str(tmp_path), os.environ.get('AMENT_PREFIX_PATH', '')]
    log = tmp_path / 'log'
    with log.open('wb') as output:
        process = subprocess.Popen(
            [sys.executable, '-c', code, str(FILE)], stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths)),
                 'AMENT_PREFIX_PATH': os.pathsep.join(filter(None, prefixes)),
                 'ROS_LOG_DIR': str(tmp_path), 'OMP_NUM_THREADS': '1',
                 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'})
    try:
        deadline = time.monotonic() + 60
        while 'now active' not in log.read_text() and time.monotonic() < deadline \
                and process.poll() is None:
            time.sleep(0.1)
        assert 'now active' in log.read_text(), log.read_text()
    finally:
        process.send_signal(2)
        assert process.wait(20) == 0, log.read_text()
    assert 'process has finished cleanly' in log.read_text()
