# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What is installed: every package, every data file, and scripts where ROS 2 looks for them."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

import diffpixel_core

ROOT = Path(__file__).parent.parent
IGNORED = shutil.ignore_patterns('.git', '.venv', 'out', 'build', 'install', 'log', '*.egg-info',
                                 '__pycache__', '.*_cache')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of a copy of the tree, so that nothing is left behind in it."""
    tree = tmp_path_factory.mktemp('tree') / 'diffpixel'
    shutil.copytree(ROOT, tree, ignore=IGNORED)
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps',
                    '--no-build-isolation', '--wheel-dir', str(tree.parent), str(tree)],
                   check=True, capture_output=True)
    return zipfile.ZipFile(next(tree.parent.glob('*.whl')))


def test_the_wheel_holds_every_file_of_both_packages(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if name.startswith('diffpixel_')}
    ours = {str(path.relative_to(ROOT)) for package in ('diffpixel_core', 'diffpixel_ros')
            for path in (ROOT / package).rglob('*')
            if path.is_file() and '__pycache__' not in path.parts}
    assert ours - packed == set(), 'add them to packages or package_data in setup.py'
    assert not {name for name in wheel.namelist() if name.startswith(('test/', 'training/'))}


def test_the_wheel_puts_ros_files_where_ros_looks(wheel: zipfile.ZipFile) -> None:
    data = {name.split('.data/data/')[1]: wheel.getinfo(name) for name in wheel.namelist()
            if '.data/data/' in name}
    wanted = {'share/ament_index/resource_index/packages/diffpixel_ros',
              'share/diffpixel_ros/package.xml', 'lib/diffpixel_ros/segment_node'}
    wanted |= {f'share/diffpixel_ros/{path.relative_to(ROOT)}'
               for pattern in ('launch/*.launch.py', 'config/*.yaml', 'config/*.xml')
               for path in ROOT.glob(pattern)}
    assert wanted <= data.keys()
    assert data['lib/diffpixel_ros/segment_node'].external_attr >> 16 & 0o111, 'not executable'


def test_the_shim_leads_to_the_script_beside_it(tmp_path: Path) -> None:
    for folder in ('lib/diffpixel_ros', 'bin'):
        (tmp_path / folder).mkdir(parents=True)
    shim = shutil.copy(ROOT / 'config/ament/segment_node', tmp_path / 'lib/diffpixel_ros')
    script = tmp_path / 'bin/segment_node'
    script.write_text('#!/bin/sh\necho "node $@"\n')
    script.chmod(0o755)
    assert os.access(shim, os.X_OK)
    out = subprocess.run([shim, '--ros-args', '-p', 'a:=b c'], capture_output=True, text=True,
                         check=True)
    assert out.stdout == 'node --ros-args -p a:=b c\n'


def test_the_versions_agree() -> None:
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert manifest.findtext('name') == 'diffpixel_ros'
    assert manifest.findtext('version') == diffpixel_core.__version__
    assert f"version='{diffpixel_core.__version__}'" in (ROOT / 'setup.py').read_text()
    assert manifest.findtext('export/build_type') == 'ament_python'


def test_every_requirement_has_a_tested_version() -> None:
    pinned = {line.split('==')[0].lower().replace('_', '-')
              for line in (ROOT / 'constraints.txt').read_text().splitlines() if '==' in line}
    for word in ('torch', 'numpy', 'opencv-python-headless', 'rosbags', 'safetensors', 'embreex',
                 'ros-rclpy', 'lightning-fabric', 'jsonargparse', 'pytest', 'ruff', 'mypy'):
        assert word in pinned
    first = next(line for line in (ROOT / 'constraints.txt').read_text().splitlines()
                 if not line.startswith('#'))
    assert first.startswith('torch==')


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('colcon') is None, reason='pip install colcon-common-extensions')
def test_colcon_builds_and_tests_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT, tmp_path / 'src/diffpixel', ignore=IGNORED)

    def colcon(*words: str) -> str:
        return subprocess.run(['colcon', *words], cwd=tmp_path, capture_output=True, text=True,
                              check=True).stdout

    assert '(ros.ament_python)' in colcon('list')
    colcon('build')
    assert (tmp_path / 'install/diffpixel_ros/lib/diffpixel_ros/segment_node').exists()
    colcon('test', '--pytest-args', '-k', 'test_labels')
    assert 'Summary: 0 tests' not in colcon('test-result', '--all')
