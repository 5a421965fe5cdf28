# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""One ament_python package, two Python packages; for `pip install .` and for `colcon build`."""

import sys
from glob import glob

from setuptools import setup

SHARE = 'share/diffpixel_ros'
# The ROS 2 wheels depend on one another without versions: each is pinned, or releases mix.
ROS_WHEELS = [
    'ros-rclpy[fastrtps]==7.1.6', 'ros-sensor-msgs==5.3.6', 'ros-std-msgs==5.3.6',
    'ros-geometry-msgs==5.3.6', 'ros-nav-msgs==5.3.6', 'ros-diagnostic-msgs==5.3.6',
    'ros-std-srvs==5.3.6',
]

data_files = [
    ('share/ament_index/resource_index/packages', ['config/ament/diffpixel_ros']),
    (SHARE, ['package.xml']),
    (f'{SHARE}/launch', sorted(glob('launch/*.launch.py'))),
    (f'{SHARE}/config', sorted(glob('config/*.yaml') + glob('config/*.xml')
                                 + glob('config/*.rviz'))),
]
if {'bdist_wheel', 'editable_wheel'} & set(sys.argv):
    # pip puts scripts into bin/, `ros2 run` looks in lib/<package>/: the shim leads there.
    data_files.append(('lib/diffpixel_ros', ['config/ament/segment_node']))

setup(
    name='diffpixel_ros',
    version='0.1.0',
    description='RGB-D semantic segmentation for robots: networks, training and a ROS 2 node',
    long_description='See README.md',
    author='The DiffPixel authors',
    maintainer='The DiffPixel authors',
    maintainer_email='maintainers@diffpixel.invalid',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=['diffpixel_ros', 'diffpixel_ros.client', 'diffpixel_ros.demo',
              'diffpixel_ros.measure', 'diffpixel_core', 'diffpixel_core.bags',
              'diffpixel_core.bench', 'diffpixel_core.commands', 'diffpixel_core.converters',
              'diffpixel_core.datasets', 'diffpixel_core.deploy', 'diffpixel_core.doctor',
              'diffpixel_core.engines', 'diffpixel_core.evaluation',
              'diffpixel_core.evaluation.stress', 'diffpixel_core.export',
              'diffpixel_core.kernels', 'diffpixel_core.models', 'diffpixel_core.prepare',
              'diffpixel_core.replay', 'diffpixel_core.report', 'diffpixel_core.synthetic',
              'diffpixel_core.train', 'diffpixel_core.training_speed'],
    package_data={'diffpixel_core': ['py.typed', 'label_spaces/*.json', 'weights/*/*'],
                  'diffpixel_core.report': ['*.css', '*.js'],
                  'diffpixel_core.prepare': ['*.json']},
    data_files=data_files,
    zip_safe=False,
    install_requires=[
        'setuptools', 'numpy', 'opencv-python-headless', 'PyYAML', 'rich', 'rosbags',
        'safetensors', 'torch>=2.4,<2.14', 'matplotlib', *ROS_WHEELS,
    ],
    extras_require={
        'rooms': ['embreex'],
        'train': ['huggingface_hub>=1.0', 'jsonargparse[signatures]', 'lightning-fabric',
                  'tensorboard'],
        'data': ['h5py', 'scipy'],  # MATLAB files of NYUDv2 and SUN RGB-D
        'ray': ['ray'],  # replay on many machines
        'engines': ['onnxruntime', 'openvino'],
        'export': ['nncf', 'onnx', 'onnxruntime', 'onnxscript', 'openvino'],
        # transformers: an independent MiT and Swin; scikit-learn: an independent confusion matrix
        'test': ['pytest', 'ray', 'scikit-learn', 'transformers', 'triton'],
        'lint': ['mypy', 'ruff', 'types-PyYAML'],
    },
    entry_points={'console_scripts': [
        'diffpixel = diffpixel_core.__main__:main',
        'segment_node = diffpixel_ros.node:main',
    ]},
    options={'develop': {'script_dir': '$base/lib/diffpixel_ros'},
             'install': {'install_scripts': '$base/lib/diffpixel_ros'}},
)
