# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The `segment` node: RGB-D image pairs in, `/semantic` out.

Image messages -> Inputs -> pairs (executor thread) -> LatestWorker, the newest pair only (thread
border) -> messages -> Frame -> Segmenter -> labels -> Outputs -> topics (worker thread).
"""

import argparse
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.timer import Timer
from rclpy.utilities import remove_ros_args

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.frame import Frame
from diffpixel_core.labels import UNLABELLED
from diffpixel_core.messages import decode_colour, decode_depth, stamp_ns
from diffpixel_core.segmenter import Segmentation, Segmenter, load_segmenter
from diffpixel_ros.diagnostics import Statistics, diagnostic_array
from diffpixel_ros.inputs import ImagePair, Inputs
from diffpixel_ros.lifecycle import GuardedLifecycleNode
from diffpixel_ros.outputs import Outputs
from diffpixel_ros.parameters import (
    NodeParameters,
    ParameterError,
    declare,
    judge,
    widened,
    with_values,
)
from diffpixel_ros.worker import LatestWorker

SHIPPED_MODEL = 'rooms_t'
_STOP_S = 2.0  # how long a running inference may take to end; launch kills after 5 s


class StoppedError(DiffPixelError):
    """The process was asked to end while it was waiting for something."""


class SegmentNode(GuardedLifecycleNode):
    """Lifecycle node that segments RGB-D image pairs.

    Args:
        stop: Set by whoever wants the node to end, so that it gives up waiting for its model.
    """

    def __init__(self, stop: threading.Event) -> None:
        super().__init__('segment', automatically_declare_parameters_from_overrides=True)
        self._stop = stop
        self._statistics = Statistics()
        self._segmenter: Segmenter | None = None
        self._worker: LatestWorker[ImagePair] | None = None
        self._outputs: Outputs | None = None
        self._inputs: Inputs | None = None
        self._active_since_s: float | None = None
        self._settings, self._refused = declare(self)
        for line in self._refused.values():
            self.get_logger().error(line)
        self.add_pre_set_parameters_callback(widened)
        self.add_on_set_parameters_callback(self._judge_parameters)
        self.add_post_set_parameters_callback(self._take_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)  # bags may pause the ROS clock
        self._report_timer = self._every(self._settings.diagnostics_period, self._report)
        self._every(1.0, self._adapt)
        # The model loads while nobody waits, so that configure answers within the 5 s that
        # Nav2's lifecycle manager allows.
        self._loading: tuple[tuple[str, str, str], Future[Segmenter]] | None = self._load()
        if self._settings.autostart:
            self._start_timer = self._every(0.05, self._start_once_loaded)

    def configure(self) -> None:
        """Load the model, unless that is done already, and create the publishers."""
        if self._refused:
            raise ParameterError('; '.join(self._refused.values()))
        segmenter = self._await_model()
        manifest = segmenter.manifest
        self._outputs = Outputs(
            self, label_space=segmenter.label_space, label_info=self._settings.label_info,
            model={'name': manifest.model, 'weights_sha256': manifest.weights_sha256})
        self._segmenter = segmenter
        self._loading = None  # or cleanup could not free the model
        self._worker = LatestWorker(self._segment, name='segment', on_error=self._job_failed)
        self._worker.start()
        self.get_logger().info(f'{manifest.model} ({manifest.label_space}) on '
                               f'{segmenter.engine_name}, {segmenter.device}')

    def activate(self) -> None:
        """Publish the labels and subscribe."""
        assert self._outputs is not None
        self._outputs.publish_labels(confidence_threshold=self._settings.confidence_threshold)
        self._inputs = Inputs(self, self._settings, self._statistics, self._submit)
        self._active_since_s = time.monotonic()

    def deactivate(self) -> None:
        """Unsubscribe and finish what was begun; the model stays warm."""
        self._active_since_s = None
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if self._worker is not None and not self._worker.drain(_STOP_S):
            self.get_logger().warning(f'the model is still busy after {_STOP_S} s')

    def cleanup(self) -> None:
        """End the worker, free publishers and model."""
        self._release()

    def shutdown(self) -> None:
        """Release everything, from whatever state."""
        self._release()

    def close(self) -> bool:
        """Release everything before the process ends; False if a thread is still busy."""
        return self._release() and not self._is_loading

    def callback_failed(self, name: str, error: Exception) -> None:
        """Count it, keep it for diagnostics."""
        self._statistics.drop('callback_error', error=f'{name}: {error}')

    def _release(self) -> bool:
        self._active_since_s = None
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        ended = True
        if self._worker is not None:
            ended = self._worker.stop(_STOP_S)
            self._statistics.drop('discarded', self._worker.counts.discarded)
            self._worker = None
        if self._outputs is not None and ended:
            self._outputs.destroy()
        self._outputs = None
        self._segmenter = None
        return ended

    def _load(self) -> tuple[tuple[str, str, str], 'Future[Segmenter]']:
        """Begin to load the model that is wanted now, in a thread of its own."""
        wanted = self._wanted()
        future: Future[Segmenter] = Future()

        def work() -> None:
            path, engine, device = wanted
            try:
                segmenter = load_segmenter(path, engine, device=device)
                segmenter.warm_up(*segmenter.manifest.input_size)
                future.set_result(segmenter)
            except BaseException as error:  # whoever waits gets it, whatever it is
                future.set_exception(error)

        threading.Thread(target=work, name='load_model', daemon=True).start()
        return wanted, future

    @property
    def _is_loading(self) -> bool:
        return self._loading is not None and not self._loading[1].done()

    def _wanted(self) -> tuple[str, str, str]:
        return (self._settings.model_path or SHIPPED_MODEL, self._settings.engine,
                self._settings.device)

    def _await_model(self) -> Segmenter:
        """Return the model the parameters name; one that failed to load is tried again."""
        begun = self._loading
        if begun is None or begun[0] != self._wanted() or (
                begun[1].done() and begun[1].exception() is not None):
            begun = self._loading = self._load()
        future = begun[1]
        while not future.done():
            if self._stop.wait(0.02):
                raise StoppedError('asked to end while the model was loading')
        return future.result()

    def _start_once_loaded(self) -> None:
        if self._is_loading:
            return
        self._start_timer.cancel()
        if self.state != 'unconfigured':
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _submit(self, pair: ImagePair) -> None:
        assert self._worker is not None
        superseded = self._worker.submit(pair)
        if superseded:
            self._statistics.drop('superseded', superseded)

    def _segment(self, pair: ImagePair) -> None:
        """Segment and publish one pair; the worker's job."""
        parameters, segmenter, outputs = self._settings, self._segmenter, self._outputs
        assert segmenter is not None
        assert outputs is not None
        marks = [time.perf_counter()]
        cause = 'decode_error'
        try:
            age_ns = self.get_clock().now().nanoseconds - stamp_ns(pair.colour)
            if parameters.max_age and age_ns > parameters.max_age * 1e9:
                self._statistics.drop('stale', error=(
                    f'a pair was {age_ns / 1e9:.2f} s old, max_age is {parameters.max_age} s'))
                return
            frame = _frame(pair, parameters)
            marks.append(time.perf_counter())
            cause = 'inference_error'
            result = segmenter(frame)
            marks.append(time.perf_counter())
            cause = 'publish_error'
            outputs.publish(_confident(result, parameters.confidence_threshold), result.confidence,
                            pair.colour.header)
            marks.append(time.perf_counter())
        except Exception as error:
            self._statistics.drop(cause, error=f'{cause}: {error}')
            details = '' if isinstance(error, DiffPixelError) else f'\n{traceback.format_exc()}'
            self.get_logger().error(f'{cause}: {error}{details}', throttle_duration_sec=5.0)
            return
        decode, infer, publish = (1e3 * step for step in np.diff(marks))
        self._statistics.frame_out({
            'age': age_ns / 1e6, 'decode': decode, 'infer': infer, 'publish': publish,
            'total': 1e3 * (marks[-1] - pair.arrived_s)})

    def _job_failed(self, error: Exception) -> None:
        self._statistics.drop('inference_error', error=str(error))

    def _judge_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        return judge(self._settings, parameters)

    def _take_parameters(self, parameters: list[Parameter]) -> None:
        before = self._settings
        self._settings = with_values(before, {p.name: p.value for p in parameters})
        for parameter in parameters:
            self._refused.pop(parameter.name, None)
        now = self._settings
        if self.state == 'unconfigured' and self._loading is not None \
                and self._loading[0] != self._wanted():
            self._loading = self._load()
        pairing = ('sync_slop', 'sync_queue', 'jump_back_reset')
        if self._inputs is not None and any(p.name in pairing for p in parameters):
            self._inputs.set_parameters(now)
        if now.diagnostics_period != before.diagnostics_period:
            self.destroy_timer(self._report_timer)
            self._report_timer = self._every(now.diagnostics_period, self._report)

    def _every(self, period_s: float, callback: Callable[[], None]) -> Timer:
        return self.create_timer(period_s, self.guarded(callback), clock=self._steady)

    def _adapt(self) -> None:
        if self._inputs is not None:
            self._inputs.adapt()

    def _report(self) -> None:
        facts = {'state': self.state, 'model': self._wanted()[0]}
        if self._segmenter is not None and self._outputs is not None:
            facts |= {'network': self._segmenter.manifest.model,
                      'engine': self._segmenter.engine_name, 'device': self._segmenter.device,
                      'precision': self._segmenter.precision,
                      'label_info': self._outputs.label_info_state}
        elif self._is_loading:
            facts['state'] += ', loading the model'
        if self._inputs is not None:
            self._inputs.fold()
            facts |= self._inputs.facts()
        report = self._statistics.report(
            problem=self.problem, active_since_s=self._active_since_s,
            stale_timeout_s=self._settings.stale_timeout, facts=facts)
        self._diagnostics.publish(diagnostic_array(
            report, name=f'{self.get_fully_qualified_name()}: segmentation',
            hardware_id=facts['model'], stamp=self.get_clock().now().to_msg()))


def _frame(pair: ImagePair, parameters: NodeParameters) -> Frame:
    depth_m = decode_depth(pair.depth, scale=parameters.depth_scale)
    if parameters.depth_min:
        depth_m[depth_m < parameters.depth_min] = 0
    if parameters.depth_max:
        depth_m[depth_m > parameters.depth_max] = 0
    return Frame(decode_colour(pair.colour), depth_m, stamp_ns=stamp_ns(pair.colour))


def _confident(result: Segmentation, threshold: float) -> npt.NDArray[np.uint8]:
    if not threshold:
        return result.labels
    return np.where(result.confidence < threshold * 255, np.uint8(UNLABELLED), result.labels)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; return the exit code."""
    stop = threading.Event()
    # Not rclpy's handlers: those raise KeyboardInterrupt anywhere, and launch signals twice.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    logging.basicConfig(level=logging.INFO, format='[%(levelname)s] [%(name)s]: %(message)s')
    argv = list(sys.argv if arguments is None else ['segment_node', *arguments])
    try:
        rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
        own = remove_ros_args(argv)[1:]
    except Exception as error:  # rclpy has no common base class for wrong --ros-args
        get_logger('segment').fatal(f'wrong ROS arguments: {error}')
        return 2
    argparse.ArgumentParser(
        prog='segment_node', description='Segment RGB-D images from ROS 2 topics to /semantic.',
        epilog='Parameters and remappings follow --ros-args; `ros2 param describe /segment` and '
        'config/segment.yaml list them.').parse_args(own)
    node = SegmentNode(stop)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    _spin(executor, node, stop)
    ended = node.close()
    executor.shutdown(timeout_sec=0.0)
    node.destroy_node()
    rclpy.try_shutdown()
    if not ended:
        # A thread is inside torch; ending the interpreter under it crashes now and then.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def _spin(executor: SingleThreadedExecutor, node: SegmentNode, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            # A signal only sets `stop`; Python runs its handler when this returns.
            executor.spin_once(timeout_sec=0.1)
        except ExternalShutdownException:
            return
        except Exception as error:  # every callback is guarded: this is rclpy's own
            node.get_logger().error(f'executor: {traceback.format_exc()}')
            node.callback_failed('executor', error)
            stop.wait(0.1)


if __name__ == '__main__':
    sys.exit(main())
