# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one dataclass, from which ROS parameters are declared and checked."""

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.intake import DEPTH_FILLS
from diffpixel_core.labels import LABEL_ENCODINGS
from diffpixel_core.synchronise import MISSING_DEPTH

Value = bool | int | float | str
FOREIGN = ('use_sim_time', 'start_type_description_service')  # declared by rclpy itself
FOREIGN_PREFIXES = ('qos_overrides.', 'diagnostic_updater.')


class ParameterError(DiffPixelError):
    """A parameter that does not exist, or a value it cannot have."""


def _setting(default: Value, about: str, *, unit: str = '', lowest: float | None = None,
             highest: float | None = None, choices: tuple[Value, ...] = (),
             when: str = 'live') -> Any:
    """Return a dataclass field; `when` a change counts: `live`, `configure` or `read_only`."""
    return field(default=default, metadata={'about': about, 'unit': unit, 'lowest': lowest,
                                            'highest': highest, 'choices': choices, 'when': when})


@dataclass(frozen=True, slots=True)
class NodeParameters:
    """Everything the node can be told; each field says what, in which unit and range, and when."""

    model_path: str = _setting(
        '', 'model directory, its model.safetensors, the name of a shipped model, or what '
        'diffpixel export wrote; empty: rooms_t', when='configure')
    model_sha256: str = _setting(
        '', 'SHA-256 the weights file must have, 64 hexadecimal digits; of an exported engine, '
        'the file it says it was made of; empty: any', when='configure')
    backend: str = _setting(
        'auto', 'engine that runs the model; auto: the best that works on this machine, openvino '
        'on a CPU; one named here works or fails',
        choices=('auto', 'torch', 'openvino', 'onnxruntime', 'tensorrt'), when='configure')
    device: str = _setting('auto', 'auto (CUDA where there is one), cpu, cuda or cuda:N',
                           when='configure')
    precision: str = _setting(
        'auto', 'arithmetic of the network; auto: the fastest of the engine here, which changes '
        'the label of about a pixel in a hundred; fp32: as trained; fp16 needs CUDA, int8 an '
        'exported engine', choices=('auto', 'fp32', 'bf16', 'fp16', 'int8'), when='configure')
    engine_cache_dir: str = _setting(
        '', 'folder of graphs converted for an engine, which takes seconds, once for each model '
        'and size of frames; empty: $XDG_CACHE_HOME/diffpixel/engines', when='configure')
    warmup_iterations: int = _setting(
        1, 'empty frames run before the first real one, which would be slow otherwise', lowest=0,
        highest=100, when='configure')
    preload: bool = _setting(
        True, 'load the model as soon as the process starts, so that configure answers within the '
        "5 s of Nav2's lifecycle manager", when='read_only')
    autostart: bool = _setting(
        False, 'configure and activate without being asked, once the model is loaded',
        when='read_only')

    synchronizer: str = _setting(
        'pairer', 'who pairs colour with depth: our pairer, or message_filters '
        'ApproximateTimeSynchronizer where it is installed (it loses looped bags)',
        choices=('pairer', 'message_filters'), when='configure')
    sync_slop: float = _setting(
        0.02, 'largest difference between the stamps of a pair', unit='s', lowest=0.0, highest=1.0)
    sync_queue: int = _setting(
        20, 'messages of each stream kept while they wait for their partner', lowest=1, highest=50)
    max_age: float = _setting(
        0.0, 'drop pairs older than this when their turn comes; 0: never', unit='s', lowest=0.0,
        highest=10.0)
    jump_back_reset: float = _setting(
        0.1, 'a stamp or clock this far back starts a new pass (a looped bag) and forgets what '
        'waits', unit='s', lowest=0.0, highest=3600.0)
    missing_depth: str = _setting(
        'wait', 'while no depth arrives: wait for it, segment colour alone (rgb_only), or drop '
        'colour', choices=MISSING_DEPTH)
    missing_depth_after: float = _setting(
        0.5, 'depth that has been silent for this long is missing; more than its period',
        unit='s', lowest=0.05, highest=60.0)

    depth_scale: float = _setting(
        0.001, 'metres per step of a 16-bit depth image', unit='m', lowest=1e-6, highest=1.0)
    depth_min: float = _setting(
        0.0, 'nearer depth counts as not measured', unit='m', lowest=0.0, highest=100.0)
    depth_max: float = _setting(
        0.0, 'farther depth counts as not measured; 0: no limit', unit='m', lowest=0.0,
        highest=100.0)
    depth_fill: str = _setting(
        'none', 'holes in the depth image: leave them, or fill them with the nearest measured '
        'value; the shipped model was trained with holes', choices=DEPTH_FILLS)
    alignment_check: str = _setting(
        'refuse', 'what to do when the two camera_infos say that depth is not aligned to colour',
        choices=('refuse', 'warn', 'off'))
    depth_registration: bool = _setting(
        False, 'align depth to colour here, from both camera_infos and depth_extrinsics or tf',
        when='configure')
    depth_extrinsics: str = _setting(
        '', 'for depth_registration, the depth camera in the frame of the colour camera: '
        '"x y z qx qy qz qw"; empty: from /tf_static and /tf', unit='m', when='configure')

    label_encoding: str = _setting(
        'mono8', 'encoding of /semantic; unlabelled is 255, 65535, -1 and -1',
        choices=tuple(LABEL_ENCODINGS), when='configure')
    class_map: str = _setting(
        '', 'YAML file that groups the classes of the model into those that are published, or '
        'groups: one class for each group of the label space; empty: as the model has them',
        when='configure')
    confidence_threshold: float = _setting(
        0.0, 'pixels less certain than this become unlabelled (255)', lowest=0.0, highest=1.0)
    overlay_alpha: float = _setting(
        0.5, 'share of the label colours in /semantic/overlay', lowest=0.0, highest=1.0)
    publish_rate_max: float = _setting(
        0.0, 'at most this many frames are segmented; 0: all', unit='Hz', lowest=0.0,
        highest=1000.0)
    points_void_nan: bool = _setting(
        True, 'points of unlabelled pixels are NaN in /semantic/points')
    nav_stride: int = _setting(
        2, 'every how many pixels of a row and column /semantic/nav has a point', lowest=1,
        highest=4, choices=(1, 2, 4))

    input_qos: str = _setting(
        'auto', 'reliability of the subscriptions; auto: reliable where every publisher is',
        choices=('auto', 'reliable', 'best_effort'), when='read_only')
    input: str = _setting(
        'topics', 'topics: colour and depth images; rgbd: realsense2_camera_msgs/RGBD, which holds '
        'both', choices=('topics', 'rgbd'), when='read_only')
    rgb_transport: str = _setting(
        'raw', 'compressed: subscribe to <colour topic>/compressed', choices=('raw', 'compressed'),
        when='read_only')
    depth_transport: str = _setting(
        'raw', 'compressedDepth: subscribe to <depth topic>/compressedDepth',
        choices=('raw', 'compressedDepth'), when='read_only')
    label_info: str = _setting(
        'auto', 'vision_msgs/LabelInfo: auto (where vision_msgs is installed), require, off',
        choices=('auto', 'require', 'off'), when='read_only')

    diagnostics_period: float = _setting(
        1.0, 'time between two messages on /diagnostics', unit='s', lowest=0.1, highest=60.0)
    stale_timeout: float = _setting(
        2.0, 'diagnostics say ERROR when active and nothing came out for this long', unit='s',
        lowest=0.1, highest=600.0)
    latency_warn_ms: float = _setting(
        0.0, 'diagnostics say WARN when 5 % of the frames take longer than this; 0: never',
        unit='ms', lowest=0.0, highest=60_000.0)
    latency_error_ms: float = _setting(
        0.0, 'diagnostics say ERROR when 5 % of the frames take longer than this; 0: never',
        unit='ms', lowest=0.0, highest=60_000.0)

    def __post_init__(self) -> None:
        """Reject values out of range, unknown choices and contradictions."""
        for row in dataclasses.fields(self):
            _check_value(row, getattr(self, row.name))
        if self.depth_max and self.depth_max <= self.depth_min:
            raise ParameterError(f'depth_max is {self.depth_max} m, but must lie above depth_min '
                                 f'({self.depth_min} m); 0 means no limit')
        if self.input == 'rgbd' and (self.rgb_transport, self.depth_transport) != ('raw', 'raw'):
            raise ParameterError('input is rgbd, whose two images are raw; leave rgb_transport and '
                                 'depth_transport at raw')
        if self.model_sha256 and not re.fullmatch('[0-9a-fA-F]{64}', self.model_sha256):
            raise ParameterError(f'model_sha256 is {self.model_sha256!r}, it must be 64 '
                                 'hexadecimal digits, as sha256sum model.safetensors prints them')
        if self.depth_extrinsics:
            self.extrinsics  # noqa: B018  # raises if it cannot be read

    @property
    def extrinsics(self) -> tuple[list[float], list[float]]:
        """`depth_extrinsics` as translation (3, metres) and quaternion (x, y, z, w)."""
        try:
            numbers = [float(text) for text in self.depth_extrinsics.replace(',', ' ').split()]
        except ValueError:
            numbers = []
        length = math.hypot(*numbers[3:])
        if len(numbers) != 7 or not math.isfinite(sum(numbers)) or not 0.99 < length < 1.01:
            raise ParameterError(f'depth_extrinsics is {self.depth_extrinsics!r}, it must be seven '
                                 'numbers, x y z in metres and a unit quaternion qx qy qz qw')
        return numbers[:3], numbers[3:]


def parameter_fields() -> dict[str, 'dataclasses.Field[Any]']:
    """Return the fields of `NodeParameters` by name."""
    return {row.name: row for row in dataclasses.fields(NodeParameters)}


def check_names(names: Iterable[str]) -> list[str]:
    """Return one line for each name that is no parameter of the node, naming the nearest."""
    known = list(parameter_fields())
    lines = []
    for name in names:
        if name in known or name in FOREIGN or name.startswith(FOREIGN_PREFIXES):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f'did you mean {near[0]!r}?' if near else f'there are: {", ".join(known)}'
        lines.append(f'parameter {name!r} does not exist; {hint}')
    return lines


def with_values(current: NodeParameters, values: Mapping[str, Value]) -> NodeParameters:
    """Return parameters with some values replaced; whole numbers are fine where a float is due.

    Raises:
        ParameterError: If a name, type, range or combination is wrong.
    """
    wrong = check_names(values)
    if wrong:
        raise ParameterError('; '.join(wrong))
    rows = parameter_fields()
    return dataclasses.replace(current, **{name: _widened(rows[name], value)
                                           for name, value in values.items() if name in rows})


def as_configured(current: NodeParameters, configured: NodeParameters) -> NodeParameters:
    """Return the current parameters, those that wait for the next configure as they were then."""
    return dataclasses.replace(current, **{
        name: getattr(configured, name) for name, row in parameter_fields().items()
        if row.metadata['when'] == 'configure'})


def declare(node: Node) -> tuple[NodeParameters, dict[str, str]]:
    """Declare every parameter, with description and range, from a node's overrides.

    Args:
        node: Made with `automatically_declare_parameters_from_overrides=True`, the one public way
            to see overrides that nothing declares.

    Returns:
        The parameters, and one line for each override that was refused, by parameter name; such a
        parameter has its default. The node must not be configured while there is one.
    """
    overrides = {name: parameter.value
                 for name, parameter in node.get_parameters_by_prefix('').items()
                 if name not in FOREIGN and not name.startswith(FOREIGN_PREFIXES)}
    parameters, refused = NodeParameters(), {}
    for name, value in overrides.items():
        node.undeclare_parameter(name)
        try:
            parameters = with_values(parameters, {name: value})
        except ParameterError as error:
            refused[name] = str(error)
    for name, row in parameter_fields().items():
        node.declare_parameter(name, getattr(parameters, name), descriptor(row),
                               ignore_override=True)
    return parameters, refused


def widened(parameters: list[Parameter]) -> list[Parameter]:
    """Return parameters about to be set, as they were meant: floats where a float is due."""
    rows = parameter_fields()

    def meant(parameter: Parameter) -> Parameter:
        if parameter.name not in rows:
            return parameter
        value = _widened(rows[parameter.name], parameter.value)
        return parameter if value is parameter.value else Parameter(parameter.name, value=value)
    return [meant(parameter) for parameter in parameters]


def judge(current: NodeParameters, parameters: list[Parameter]) -> SetParametersResult:
    """Return whether a change of parameters is acceptable, and if not, why."""
    try:
        with_values(current, {p.name: p.value for p in parameters})
    except ParameterError as error:
        return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


def descriptor(row: 'dataclasses.Field[Any]') -> ParameterDescriptor:
    """Return what `ros2 param describe` shows for a field."""
    facts = row.metadata
    unit = f' [{facts["unit"]}]' if facts['unit'] else ''
    when = '; takes effect at the next configure' if facts['when'] == 'configure' else ''
    result = ParameterDescriptor(name=row.name, description=f'{facts["about"]}{unit}{when}',
                                 read_only=facts['when'] == 'read_only')
    if facts['choices']:
        result.additional_constraints = 'one of ' + ', '.join(map(str, facts['choices']))
    if facts['lowest'] is not None and row.type is float:
        result.floating_point_range = [FloatingPointRange(from_value=facts['lowest'],
                                                          to_value=facts['highest'])]
    elif facts['lowest'] is not None:
        result.integer_range = [IntegerRange(from_value=int(facts['lowest']),
                                             to_value=int(facts['highest']), step=1)]
    return result


def _widened(row: 'dataclasses.Field[Any]', value: Any) -> Any:
    """Return a value as it was meant: YAML makes 3 of 3.0, and false of off."""
    if value is False and 'off' in row.metadata['choices']:
        return 'off'
    return float(value) if row.type is float and type(value) is int else value


def _check_value(row: 'dataclasses.Field[Any]', value: Any) -> None:
    facts = row.metadata
    assert isinstance(row.type, type)
    if type(value) is not row.type:
        raise ParameterError(f'parameter {row.name!r} is {value!r} ({type(value).__name__}), it '
                             f'must be a {row.type.__name__}')
    if facts['choices'] and value not in facts['choices']:
        raise ParameterError(f'parameter {row.name!r} is {value!r}, it must be one of '
                             f'{", ".join(map(str, facts["choices"]))}')
    # Written so that NaN, which compares false with everything, is refused.
    if facts['lowest'] is not None and not facts['lowest'] <= value <= facts['highest']:
        raise ParameterError(f'parameter {row.name!r} is {value!r}, it must lie between '
                             f'{facts["lowest"]} and {facts["highest"]} {facts["unit"]}'.rstrip())
