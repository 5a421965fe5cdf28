# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The import rule: every arrow between our files points downwards."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = {
    1: 'errors frame labels modalities depth geometry pairing config threads paper synchronise '
       'termination whole_file '
       'label_map cloud registration tf_tree camera_info recipes version',
    2: 'models metrics losses transforms kernels',
    3: 'checkpoints converters datasets deploy synthetic bags rgbd_bags image_folder messages '
       'compressed rvl codecs rgbd_topics artefacts',
    4: 'engines info info_tables tiny_model',
    5: 'segmenter intake',
    6: 'train evaluation report replay doctor prepare devices training_speed augment_sheet '
       'export bench',
    7: '__init__ __main__ commands',
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}
NODE_MAY_IMPORT = {'errors', 'frame', 'labels', 'depth', 'geometry', 'pairing', 'metrics',
                   'segmenter', 'bags', 'rgbd_bags', 'report', 'messages', 'codecs', 'intake',
                   'synchronise', 'label_map', 'cloud', 'registration', 'tf_tree', 'camera_info',
                   'replay', 'termination', 'tiny_model', 'whole_file'}
HEAVY = {'torch', 'rclpy', 'embreex', 'lightning_fabric', 'lightning', 'matplotlib', 'rosbags',
         'openvino', 'onnxruntime', 'onnx', 'nncf', 'tensorrt', 'triton'}


def imports(path: Path, *, lazy: bool = True) -> set[str]:
    """Return the dotted names a file imports; without `lazy`, only those run at import."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree)) if lazy else list(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            assert all(alias.name != '*' for alias in node.names), f'{path}: star import'
            found.add(node.module or '')
    return found


def core_files() -> list[tuple[str, Path]]:
    base = ROOT / 'diffpixel_core'
    return [(path.relative_to(base).with_suffix('').parts[0], path)
            for path in sorted(base.rglob('*.py'))]


def room(module: str) -> str:
    return module.split('.')[1] if '.' in module else '__init__'


def test_every_file_has_a_floor() -> None:
    unknown = {name for name, _ in core_files()} - FLOOR.keys()
    assert not unknown, f'say in FLOORS where {sorted(unknown)} belong'


def test_core_imports_point_downwards() -> None:
    faults = [f'{path.name} (floor {FLOOR[name]}) imports {module} (floor {FLOOR[room(module)]})'
              for name, path in core_files() for module in imports(path)
              if module.split('.')[0] == 'diffpixel_core' and room(module) != name
              and FLOOR[room(module)] > FLOOR[name]]
    assert not faults, faults


def test_only_the_command_knows_the_node() -> None:
    faults = [path.name for name, path in core_files() if name != 'commands'
              for module in imports(path) if module.split('.')[0] in ('diffpixel_ros', 'rclpy')]
    assert not faults, faults


def test_the_node_uses_only_the_doors_of_the_core() -> None:
    faults = [f'{path.name} imports {module}' for path in (ROOT / 'diffpixel_ros').rglob('*.py')
              for module in imports(path) if module.split('.')[0] == 'diffpixel_core'
              and room(module) not in NODE_MAY_IMPORT]
    assert not faults, faults


def test_the_node_knows_none_of_its_clients() -> None:
    base = ROOT / 'diffpixel_ros'
    may = {'client': {'client'}, 'demo': {'client', 'demo'}, 'measure': {'client', 'measure'}}
    faults = [f'{path.relative_to(base)} imports {module}' for path in base.rglob('*.py')
              for module in imports(path) if module.split('.')[0] == 'diffpixel_ros'
              and room(module) in may.keys() - may.get(path.relative_to(base).parts[0], set())]
    assert not faults, faults


def test_the_lowest_floor_is_light() -> None:
    faults = [f'{path.name} imports {module}' for name, path in core_files() if FLOOR[name] == 1
              for module in imports(path) if module.split('.')[0] in HEAVY]
    assert not faults, faults


def test_the_command_imports_nothing_heavy_before_it_runs() -> None:
    code = ('import sys, diffpixel_core, diffpixel_core.__main__ as m\n'
            'm._parser().format_help()\n'
            f'print(sorted(set(sys.modules) & {HEAVY!r}))')
    out = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True,
                         check=True)
    assert out.stdout.strip() == '[]'
