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

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.timer import Timer
from rclpy.utilities import remove_ros_args
from std_srvs.srv import SetBool, Trigger

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.segmenter import Segmenter
from diffpixel_ros.diagnostics import Statistics, memory_facts, publisher_for
from diffpixel_ros.inputs import PAIRING_PARAMETERS, ImagePair, Inputs
from diffpixel_ros.lifecycle import GuardedLifecycleNode
from diffpixel_ros.model_loader import ModelLoader, ModelRequest, in_background
from diffpixel_ros.outputs import Outputs
from diffpixel_ros.parameters import (
    ParameterError,
    as_configured,
    declare,
    judge,
    widened,
    with_values,
)
from diffpixel_ros.pipeline import Pipeline
from diffpixel_ros.worker import LatestWorker

_STOP_S = 2.0  # how long a running inference may take to end; launch kills after 5 s


class SegmentNode(GuardedLifecycleNode):
    """Lifecycle node that segments RGB-D image pairs.

    Args:
        stop: Set by whoever wants the node to end, so that it gives up waiting for its model.
    """

    def __init__(self, stop: threading.Event) -> None:
        super().__init__('segment', automatically_declare_parameters_from_overrides=True)
        self._statistics = Statistics()
        self._loader = ModelLoader(stop)
        self._worker: LatestWorker[ImagePair] | None = None
        self._outputs: Outputs | None = None
        self._pipeline: Pipeline | None = None
        self._inputs: Inputs | None = None
        self._enabled = True
        self._active_since_s: float | None = None
        self._settings, self._refused = declare(self)
        self._configured = self._settings
        for line in self._refused.values():
            self.get_logger().error(line)
        self.add_pre_set_parameters_callback(widened)
        self.add_on_set_parameters_callback(self._judge_parameters)
        self.add_post_set_parameters_callback(self._take_parameters)
        self._diagnostics = publisher_for(self, period_s=self._settings.diagnostics_period)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)  # bags may pause the ROS clock
        self._report_timer = self._every(self._settings.diagnostics_period, self._report)
        self._every(1.0, self._adapt)
        self.create_service(SetBool, '~/enable', self._enable)
        self.create_service(Trigger, '~/reset', self._reset)
        self.create_service(Trigger, '~/reload_model', self._reload_model)
        if self._settings.preload or self._settings.autostart:
            self._loader.begin(ModelRequest.of(self._settings))
        if self._settings.autostart:
            self._start_timer = self._every(0.05, self._start_once_loaded)

    def configure(self) -> None:
        """Load the model, unless that is done already, and create the publishers."""
        if self._refused:
            raise ParameterError('; '.join(self._refused.values()))
        settings = self._configured = self._settings
        segmenter = self._loader.result(ModelRequest.of(settings))
        self._outputs = Outputs(self, label_encoding=settings.label_encoding,
                                label_info=settings.label_info)
        try:
            self._pipeline = Pipeline(self, segmenter, settings, self._outputs, self._statistics)
        except DiffPixelError:
            self._release()
            raise
        self._worker = LatestWorker(self._pipeline.run, name='segment', on_error=self._job_failed)
        self._worker.start()
        manifest = segmenter.manifest
        self.get_logger().info(f'{manifest.model} ({manifest.label_space}) on '
                               f'{segmenter.engine_name}, {segmenter.device}, '
                               f'{segmenter.precision}')

    def activate(self) -> None:
        """Publish the labels and subscribe."""
        assert self._pipeline is not None
        self._pipeline.publish_labels()
        if self._enabled:
            self._listen()

    def deactivate(self) -> None:
        """Unsubscribe and finish what was begun; the model stays warm."""
        self._ignore()
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
        return self._release() and not self._loader.is_loading

    def callback_failed(self, name: str, error: Exception) -> None:
        """Count it, keep it for diagnostics."""
        self._statistics.drop('callback_error', error=f'{name}: {error}')

    def _listen(self) -> None:
        settings = as_configured(self._settings, self._configured)
        self._inputs = Inputs(self, settings, self._statistics, self._submit)
        self._active_since_s = time.monotonic()

    def _ignore(self) -> None:
        self._active_since_s = None
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None

    def _release(self) -> bool:
        self._ignore()
        ended = True
        if self._worker is not None:
            ended = self._worker.stop(_STOP_S)
            self._statistics.drop('discarded', self._worker.counts.discarded)
            self._worker = None
        if self._outputs is not None and ended:
            self._outputs.destroy()
        self._outputs = self._pipeline = None
        return ended

    def _start_once_loaded(self) -> None:
        if self._loader.is_loading:
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

    def _job_failed(self, error: Exception) -> None:
        self._statistics.drop('inference_error', error=str(error))

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Unsubscribe, or subscribe again; an inactive node remembers it for its activation."""
        response.success, response.message = True, 'enabled' if request.data else 'disabled'
        if request.data == self._enabled:
            return response
        self._enabled = bool(request.data)
        if self.state != 'active':
            return response
        try:
            if self._enabled:
                self._listen()
            else:
                self._ignore()
        except DiffPixelError as error:
            response.success, response.message = False, str(error)
        return response

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Forget what waits for a partner, and count from zero."""
        if self._inputs is not None:
            self._inputs.reset()
        self._statistics.reset()
        response.success, response.message = True, 'queues and counters are empty'
        return response

    async def _reload_model(self, request: Trigger.Request,
                            response: Trigger.Response) -> Trigger.Response:
        """Load the model that the parameters name now; images are served by the old one meanwhile.

        What cannot be loaded changes nothing.
        """
        pipeline, wanted = self._pipeline, ModelRequest.of(self._settings)
        if pipeline is None:
            response.message = f'the node is {self.state}; configure loads the model'
            return response
        loaded: Future = Future(executor=self.executor)
        in_background(wanted.load, name='reload_model').add_done_callback(
            lambda done: loaded.set_result(done))
        try:
            segmenter: Segmenter = (await loaded).result()
            if self._pipeline is not pipeline:
                raise ParameterError('the node was cleaned up meanwhile; configure loads the model')
            pipeline.replace_model(segmenter, wanted)
            if self.state == 'active':
                pipeline.publish_labels()
        except Exception as error:
            details = '' if isinstance(error, DiffPixelError) else f'\n{traceback.format_exc()}'
            response.message = f'the model stays as it is: {error}'
            self.get_logger().error(response.message + details)
            return response
        manifest = segmenter.manifest
        response.success = True
        response.message = f'{manifest.model} ({manifest.label_space}) from {wanted.path}'
        self.get_logger().info(f'model replaced: {response.message}')
        return response

    def _judge_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        return judge(self._settings, parameters)

    def _take_parameters(self, parameters: list[Parameter]) -> None:
        before = self._settings
        self._settings = with_values(before, {p.name: p.value for p in parameters})
        names = [parameter.name for parameter in parameters]
        for name in names:
            self._refused.pop(name, None)
        now = as_configured(self._settings, self._configured)
        if self.state == 'unconfigured' and self._settings.preload:
            self._loader.begin(ModelRequest.of(self._settings))
        if self._inputs is not None:
            self._inputs.set_parameters(
                now, pairing=any(name in PAIRING_PARAMETERS for name in names))
        if self._pipeline is not None:
            self._pipeline.set_parameters(now)
        if now.diagnostics_period != before.diagnostics_period:
            self.destroy_timer(self._report_timer)
            self._report_timer = self._every(now.diagnostics_period, self._report)

    def _every(self, period_s: float, callback: Callable[[], None]) -> Timer:
        return self.create_timer(period_s, self.guarded(callback), clock=self._steady)

    def _adapt(self) -> None:
        if self._inputs is not None:
            self._inputs.adapt()

    def _report(self) -> None:
        settings = self._settings
        facts = {'state': self.state, 'model': ModelRequest.of(settings).path}
        warnings: list[str] = []
        device = 'cpu'
        if self._pipeline is not None and self._outputs is not None:
            segmenter = self._pipeline.segmenter
            device = segmenter.device
            facts |= {'network': segmenter.manifest.model, 'backend': segmenter.engine_name,
                      'device': device, 'precision': segmenter.precision,
                      'label_info': self._outputs.label_info_state}
            warnings += filter(None, [self._pipeline.fallback])
        elif self._loader.is_loading:
            facts['state'] += ', loading the model'
        unaligned = ''
        if self._inputs is not None:
            self._inputs.fold()
            facts |= self._inputs.facts()
            unaligned = self._inputs.unaligned
        report = self._statistics.report(
            problem=self.problem, enabled=self._enabled, unaligned=unaligned, warnings=warnings,
            active_since_s=self._active_since_s, stale_timeout_s=settings.stale_timeout,
            latency_warn_ms=settings.latency_warn_ms, latency_error_ms=settings.latency_error_ms,
            facts=facts | memory_facts(device))
        self._diagnostics.publish(report, hardware_id=facts['model'])


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
