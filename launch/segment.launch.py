# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Start the segment node for a camera: `ros2 launch diffpixel_ros segment.launch.py`.

With `camera:=realsense`, or `rgb_topic:=/a/color depth_topic:=/a/depth`; `--show-args` lists all.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

CONFIG = Path(__file__).resolve().parents[1] / 'config'
INPUTS = ('rgb/image_raw', 'depth/image_raw', 'rgb/camera_info')
# What each driver calls colour, depth aligned to colour, and the colour camera's info.
CAMERAS = {
    'custom': INPUTS,
    # needs align_depth.enable:=true enable_sync:=true
    'realsense': ('/camera/camera/color/image_raw',
                  '/camera/camera/aligned_depth_to_color/image_raw',
                  '/camera/camera/color/camera_info'),
    'azure_kinect': ('/rgb/image_raw', '/depth_to_rgb/image_raw', '/rgb/camera_info'),
    # needs depth_registration:=true
    'orbbec': ('/camera/color/image_raw', '/camera/depth/image_raw', '/camera/color/camera_info'),
    'kinect': ('/camera/rgb/image_raw', '/camera/depth_registered/image_raw',
               '/camera/rgb/camera_info'),
}
SWITCH = ['true', 'false']


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the node."""
    return LaunchDescription([
        DeclareLaunchArgument('camera', default_value='custom', choices=list(CAMERAS),
                              description='whose topic names to use'),
        DeclareLaunchArgument('rgb_topic', default_value='',
                              description='colour images; empty: as the camera has it'),
        DeclareLaunchArgument('depth_topic', default_value='',
                              description='depth images aligned to colour; empty: likewise'),
        DeclareLaunchArgument('info_topic', default_value='',
                              description="colour camera's camera_info; empty: likewise"),
        DeclareLaunchArgument('namespace', default_value='',
                              description='namespace of the node and of its relative topics'),
        DeclareLaunchArgument('params_file', default_value=str(CONFIG / 'segment.yaml'),
                              description='YAML file of node parameters'),
        DeclareLaunchArgument('model_path', default_value='',
                              description='model directory; empty: as the YAML file says'),
        DeclareLaunchArgument('use_sim_time', default_value='false', choices=SWITCH,
                              description='take the time from /clock'),
        DeclareLaunchArgument('autostart', default_value='true', choices=SWITCH,
                              description='configure and activate; false under a lifecycle '
                              'manager (for Nav2 with bond_timeout: 0.0)'),
        DeclareLaunchArgument('shm_profile', default_value='true', choices=SWITCH,
                              description='give Fast DDS shared memory for whole images; export '
                              'FASTRTPS_DEFAULT_PROFILES_FILE for the camera driver too'),
        DeclareLaunchArgument('log_level', default_value='info',
                              choices=['debug', 'info', 'warn', 'error', 'fatal'],
                              description='least severe messages shown'),
        OpaqueFunction(function=_node),
    ])


def _node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    def argument(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    preset = CAMERAS[argument('camera')]
    given = [argument(name) for name in ('rgb_topic', 'depth_topic', 'info_topic')]
    topics = [topic or default for topic, default in zip(given, preset, strict=True)]
    parameters = {name: argument(name) == 'true' for name in ('use_sim_time', 'autostart')}
    if argument('model_path'):
        parameters['model_path'] = argument('model_path')
    profile = str(CONFIG / 'fastdds.xml')
    environment = {'FASTRTPS_DEFAULT_PROFILES_FILE': profile,  # Jazzy and older
                   'FASTDDS_DEFAULT_PROFILES_FILE': profile}  # Kilted and newer
    return [LifecycleNode(
        package='diffpixel_ros',
        executable='segment_node',
        name='segment',
        namespace=argument('namespace'),
        parameters=[argument('params_file'), parameters],
        remappings=[(name, topic) for name, topic in zip(INPUTS, topics, strict=True)
                    if name != topic],
        ros_arguments=['--log-level', argument('log_level')],
        additional_env=environment if argument('shm_profile') == 'true' else {},
        output='screen',
        emulate_tty=True,
    )]
