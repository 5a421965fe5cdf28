# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Start the segment node for a camera: `ros2 launch diffpixel_ros segment.launch.py`.

With `camera:=realsense`, or `rgb_topic:=/a/color depth_topic:=/a/depth`; `--show-args` lists all.
"""

from pathlib import Path
from typing import NamedTuple

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

CONFIG = Path(__file__).resolve().parents[1] / 'config'


class Camera(NamedTuple):
    """What a driver calls colour, depth aligned to colour, and both in one message."""

    rgb: str
    depth: str
    rgbd: str = 'rgbd'


CAMERAS = {
    'custom': Camera('rgb/image_raw', 'depth/image_raw'),
    # needs align_depth.enable:=true enable_sync:=true, for rgbd also enable_rgbd:=true
    'realsense': Camera('/camera/camera/color/image_raw',
                        '/camera/camera/aligned_depth_to_color/image_raw', '/camera/camera/rgbd'),
    'azure_kinect': Camera('/rgb/image_raw', '/depth_to_rgb/image_raw'),
    # needs depth_registration:=true
    'orbbec': Camera('/camera/color/image_raw', '/camera/depth/image_raw'),
    'kinect': Camera('/camera/rgb/image_raw', '/camera/depth_registered/image_raw'),
}
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE',  # Jazzy and older
                     'FASTDDS_DEFAULT_PROFILES_FILE')  # Kilted and newer
SWITCH = ['true', 'false']


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the node."""
    return LaunchDescription([
        DeclareLaunchArgument('camera', default_value='custom', choices=list(CAMERAS),
                              description='Driver whose topic names are used.'),
        DeclareLaunchArgument('rgb_topic', default_value='',
                              description='Colour images, without /compressed; empty: as the '
                              'camera has it.'),
        DeclareLaunchArgument('depth_topic', default_value='',
                              description='Depth images aligned to colour, without '
                              '/compressedDepth; empty: as the camera has it. The depth '
                              "camera's info is expected beside them."),
        DeclareLaunchArgument('info_topic', default_value='',
                              description="Colour camera's info; empty: camera_info beside the "
                              'colour images.'),
        DeclareLaunchArgument('namespace', default_value='',
                              description='Namespace of the node and of its relative topics.'),
        DeclareLaunchArgument('params_file', default_value=str(CONFIG / 'segment.yaml'),
                              description='YAML file of node parameters.'),
        DeclareLaunchArgument('model_path', default_value='',
                              description='Model directory; empty: as params_file says.'),
        DeclareLaunchArgument('use_sim_time', default_value='false', choices=SWITCH,
                              description='Take the time from /clock; false: as params_file '
                              'says.'),
        DeclareLaunchArgument('autostart', default_value='true', choices=SWITCH,
                              description='Configure and activate at once; false under a '
                              'lifecycle manager (config/nav2_lifecycle.yaml). Wins over '
                              'params_file.'),
        DeclareLaunchArgument('shm_profile', default_value='true', choices=SWITCH,
                              description='Give Fast DDS shared memory for whole images '
                              '(config/fastdds.xml), unless a profile is exported already. The '
                              'camera driver needs it, too.'),
        DeclareLaunchArgument('log_level', default_value='info',
                              choices=['debug', 'info', 'warn', 'error', 'fatal'],
                              description='Least severe messages shown.'),
        OpaqueFunction(function=_actions),
    ])


def _actions(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    def argument(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    params_file = Path(argument('params_file')).expanduser()
    if not params_file.is_file():
        raise RuntimeError(f'params_file {params_file} does not exist; copy '
                           f'{CONFIG / "segment.yaml"} and change it')
    parameters: dict[str, bool | str] = {'autostart': argument('autostart') == 'true'}
    if argument('use_sim_time') == 'true':
        parameters['use_sim_time'] = True
    if argument('model_path'):
        parameters['model_path'] = argument('model_path')
    actions: list[LaunchDescriptionEntity] = []
    environment: dict[str, str] = {}
    if argument('shm_profile') == 'true':
        exported = [name for name in PROFILE_VARIABLES if context.environment.get(name)]
        if exported:
            actions.append(LogInfo(msg='shm_profile: keeping ' + ', '.join(
                f'{name}={context.environment[name]}' for name in exported)))
        else:
            environment = dict.fromkeys(PROFILE_VARIABLES, str(CONFIG / 'fastdds.xml'))
    return [*actions, LifecycleNode(
        package='diffpixel_ros',
        executable='segment_node',
        name='segment',
        namespace=argument('namespace'),
        parameters=[str(params_file), parameters],
        remappings=_remappings(CAMERAS[argument('camera')], rgb=argument('rgb_topic'),
                               depth=argument('depth_topic'), info=argument('info_topic')),
        ros_arguments=['--log-level', argument('log_level')],
        additional_env=environment,
        output='screen',
        emulate_tty=True,
    )]


def _remappings(camera: Camera, *, rgb: str, depth: str, info: str) -> list[tuple[str, str]]:
    """Return what every input of the node is called; what is given wins over the preset.

    Compressed topics need no rule: like image_transport, the node derives their names from these.

    Source: camera_info is a sibling of the images, image_transport/camera_common.hpp.
    """
    for name, topic, transport in (('rgb', rgb, 'compressed'),
                                   ('depth', depth, 'compressedDepth')):
        base = topic.removesuffix(f'/{transport}')
        if base != topic:
            raise RuntimeError(f'{name}_topic is {topic}; give {name}_topic:={base} and set '
                               f'{name}_transport: {transport} in params_file')
    rgb, depth = rgb or camera.rgb, depth or camera.depth
    topics = {
        'rgb/image_raw': rgb,
        'rgb/camera_info': info or _beside(rgb),
        'depth/image_raw': depth,
        'depth/camera_info': _beside(depth),
        'rgbd': camera.rgbd,
    }
    return [(name, topic) for name, topic in topics.items() if name != topic]


def _beside(topic: str) -> str:
    folder, slash, _ = topic.rpartition('/')
    return f'{folder}{slash}camera_info'
