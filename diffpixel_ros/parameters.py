# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one dataclass, from which ROS parameters are declared and checked."""

import dataclasses
import difflib
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

Value = bool | int | float | str
FOREIGN = ('use_sim_time', 'start_type_description_service')  # declared by rclpy itself
FOREIGN_PREFIX = 'qos_overrides.'


class ParameterError(DiffPixelError):
    """A parameter that does not exist, or a value it cannot have."""


def _setting(default: Value, about: str, *, unit: str = '', lowest: float | None = None,
             highest: float | None = None, choices: tuple[str, ...] = (),
             when: str = 'live') -> Any:
    """Return a dataclass field; `when` a change counts: `live`, `configure` or `read_only`."""
    return field(default=default, metadata={'about': about, 'unit': unit, 'lowest': lowest,
                                            'highest': highest, 'choices': choices, 'when': when})


@dataclass(frozen=True, slots=True)
class NodeParameters:
    """Everything the node can be told; each field says what, in which unit and range, and when."""

    model_path: str = _setting(
        '', 'model directory, its model.safetensors, or the name of a shipped model; empty: '
        'rooms_t', when='configure')
    engine: str = _setting('auto', 'engine that runs the model: auto or its name',
                           when='configure')
    device: str = _setting('auto', 'auto (CUDA where there is one), cpu, cuda or cuda:N',
                           when='configure')
    autostart: bool = _setting(
        False, 'configure and activate without being asked, once the model is loaded',
        when='read_only')
    sync_slop: float = _setting(
        0.02, 'largest difference between the stamps of a pair', unit='s', lowest=0.0, highest=1.0)
    sync_queue: int = _setting(
        10, 'messages of each stream kept while they wait for their partner', lowest=1, highest=50)
    max_age: float = _setting(
        0.0, 'drop pairs older than this when their turn comes; 0: never', unit='s', lowest=0.0,
        highest=10.0)
    jump_back_reset: float = _setting(
        0.1, 'a stamp or clock this far back starts a new pass (a looped bag) and forgets what '
        'waits', unit='s', lowest=0.0, highest=3600.0)
    depth_scale: float = _setting(
        0.001, 'metres per step of a 16-bit depth image', unit='m', lowest=1e-6, highest=1.0)
    depth_min: float = _setting(
        0.0, 'nearer depth counts as not measured', unit='m', lowest=0.0, highest=100.0)
    depth_max: float = _setting(
        0.0, 'farther depth counts as not measured; 0: no limit', unit='m', lowest=0.0,
        highest=100.0)
    confidence_threshold: float = _setting(
        0.0, 'pixels less certain than this become unlabelled (255)', lowest=0.0, highest=1.0)
    input_qos: str = _setting(
        'auto', 'reliability of the subscriptions; auto: reliable where every publisher is',
        choices=('auto', 'reliable', 'best_effort'), when='read_only')
    label_info: str = _setting(
        'auto', 'vision_msgs/LabelInfo: auto (where vision_msgs is installed), require, off',
        choices=('auto', 'require', 'off'), when='read_only')
    diagnostics_period: float = _setting(
        1.0, 'time between two messages on /diagnostics', unit='s', lowest=0.1, highest=60.0)
    stale_timeout: float = _setting(
        2.0, 'diagnostics say ERROR when active and nothing came out for this long', unit='s',
        lowest=0.1, highest=600.0)

    def __post_init__(self) -> None:
        """Reject values out of range, unknown choices and contradictions."""
        for row in dataclasses.fields(self):
            _check_value(row, getattr(self, row.name))
        if self.depth_max and self.depth_max <= self.depth_min:
            raise ParameterError(f'depth_max is {self.depth_max} m, but must lie above depth_min '
                                 f'({self.depth_min} m); 0 means no limit')


def parameter_fields() -> dict[str, 'dataclasses.Field[Any]']:
    """Return the fields of `NodeParameters` by name."""
    return {row.name: row for row in dataclasses.fields(NodeParameters)}


def check_names(names: Iterable[str]) -> list[str]:
    """Return one line for each name that is no parameter of the node, naming the nearest."""
    known = list(parameter_fields())
    lines = []
    for name in names:
        if name in known or name in FOREIGN or name.startswith(FOREIGN_PREFIX):
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
                 if name not in FOREIGN and not name.startswith(FOREIGN_PREFIX)}
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
    """Return parameters about to be set, whole numbers made floats where a float is due."""
    rows = parameter_fields()
    return [Parameter(p.name, value=_widened(rows[p.name], p.value)) if p.name in rows else p
            for p in parameters]


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
        result.additional_constraints = 'one of ' + ', '.join(facts['choices'])
    if facts['lowest'] is not None and row.type is float:
        result.floating_point_range = [FloatingPointRange(from_value=facts['lowest'],
                                                          to_value=facts['highest'])]
    elif facts['lowest'] is not None:
        result.integer_range = [IntegerRange(from_value=int(facts['lowest']),
                                             to_value=int(facts['highest']), step=1)]
    return result


def _widened(row: 'dataclasses.Field[Any]', value: Any) -> Any:
    return float(value) if row.type is float and type(value) is int else value


def _check_value(row: 'dataclasses.Field[Any]', value: Any) -> None:
    facts = row.metadata
    assert isinstance(row.type, type)
    if type(value) is not row.type:
        raise ParameterError(f'parameter {row.name!r} is {value!r} ({type(value).__name__}), it '
                             f'must be a {row.type.__name__}')
    if facts['choices'] and value not in facts['choices']:
        raise ParameterError(f'parameter {row.name!r} is {value!r}, it must be one of '
                             f'{", ".join(facts["choices"])}')
    # Written so that NaN, which compares false with everything, is refused.
    if facts['lowest'] is not None and not facts['lowest'] <= value <= facts['highest']:
        raise ParameterError(f'parameter {row.name!r} is {value!r}, it must lie between '
                             f'{facts["lowest"]} and {facts["highest"]} {facts["unit"]}'.rstrip())
