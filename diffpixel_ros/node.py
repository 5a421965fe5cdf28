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
from rclpy.callback_groups import ReentrantCallbackGroup
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
from diffpixel_ros.cameras import Infos
from diffpixel_ros.diagnostics import Statistics, memory_facts, publisher_for
from diffpixel_ros.inputs import PAIRING_PARAMETERS, ImagePair, Inputs, check_installed
from diffpixel_ros.lifecycle import GuardedLifecycleNode
from diffpixel_ros.model_loader import MODEL_PARAMETERS, ModelLoader, ModelRequest
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
        self._is_reloading = False
        # Workers that were still busy when they were told to stop, with what they publish on.
        self._leftovers: list[tuple[LatestWorker[ImagePair], Pipeline, Outputs]] = []
        self._infos: Infos = (None, None)
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
        self._every(1.0, self._tick)
        self.create_service(SetBool, '~/enable', self._enable)
        self.create_service(Trigger, '~/reset', self._reset)
        # A group of its own: while it waits for the model, everything else goes on.
        self.create_service(Trigger, '~/reload_model', self._reload_model,
                            callback_group=ReentrantCallbackGroup())
        if self._settings.preload or self._settings.autostart:
            self._loader.begin(ModelRequest.of(self._settings))
        if self._settings.autostart:
            self._start_timer = self._every(0.05, self._start_once_loaded)

    def configure(self) -> None:
        """Load the model, unless that is done already, and create the publishers."""
        if self._refused:
            raise ParameterError('; '.join(self._refused.values()))
        settings = self._configured = self._settings
        check_installed(settings)
        self._clear_leftovers()
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
                               f'{segmenter.precision}: {segmenter.reason}')

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
        ended = self._release() and not self._leftovers
        return ended and not self._loader.is_loading

    def callback_failed(self, name: str, error: Exception) -> None:
        """Count it, keep it for diagnostics."""
        self._statistics.drop('callback_error', error=f'{name}: {error}')

    def _listen(self) -> None:
        settings = as_configured(self._settings, self._configured)
        self._inputs = Inputs(self, settings, self._statistics, self._submit, infos=self._infos)
        self._active_since_s = time.monotonic()

    def _ignore(self) -> None:
        self._active_since_s = None
        if self._inputs is not None:
            self._infos = self._inputs.infos  # a camera may say it only once
            self._inputs.close()
            self._inputs = None

    def _release(self) -> bool:
        """Free everything; False if the worker is still busy, and frees the rest when it ends."""
        self._ignore()
        worker, pipeline, outputs = self._worker, self._pipeline, self._outputs
        self._worker = self._pipeline = self._outputs = None
        if worker is None or pipeline is None or outputs is None:
            if outputs is not None:  # configure failed half-way
                outputs.destroy()
            return True
        ended = worker.stop(_STOP_S)
        self._statistics.drop('discarded', worker.counts.discarded)
        self._leftovers.append((worker, pipeline, outputs))
        self._clear_leftovers()
        return ended

    def _clear_leftovers(self) -> None:
        for leftover in self._leftovers[:]:
            worker, pipeline, outputs = leftover
            if worker.stop(0.0):
                pipeline.close()
                outputs.destroy()
                self._leftovers.remove(leftover)

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
        try:
            if self.state == 'active':
                if not request.data:
                    self._ignore()
                elif self._inputs is None:
                    self._listen()
        except Exception as error:
            response.message = f'not enabled: {error}'
            self._log_failure(response.message, error)
            return response
        self._enabled = bool(request.data)
        response.success, response.message = True, 'enabled' if request.data else 'disabled'
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
        if self._is_reloading:
            response.message = 'a model is being loaded already; call again when that is done'
            return response

        def work() -> Segmenter:
            segmenter = wanted.load()
            pipeline.replace_model(segmenter, wanted)
            return segmenter

        loaded: Future = Future(executor=self.executor)
        self._is_reloading = True
        self._loader.load(work).add_done_callback(loaded.set_result)
        try:
            segmenter: Segmenter = (await loaded).result()
        except Exception as error:
            response.message = f'the model stays as it is: {error}'
            self._log_failure(response.message, error)
            return response
        finally:
            self._is_reloading = False
        manifest = segmenter.manifest
        response.success = True
        response.message = f'{manifest.model} ({manifest.label_space}) from {wanted.path}'
        self.get_logger().info(f'model replaced: {response.message}')
        return response

    def _log_failure(self, text: str, error: Exception) -> None:
        """Log a user's mistake in its one line, anything else with its traceback."""
        details = '' if isinstance(error, DiffPixelError) else f'\n{traceback.format_exc()}'
        self.get_logger().error(text + details)

    def _judge_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        return judge(self._settings, parameters)

    def _take_parameters(self, parameters: list[Parameter]) -> None:
        before = self._settings
        self._settings = with_values(before, {p.name: p.value for p in parameters})
        names = [parameter.name for parameter in parameters]
        for name in names:
            self._refused.pop(name, None)
        now = as_configured(self._settings, self._configured)
        # rclpy calls this for parameters that are only being declared, too.
        if self.state == 'unconfigured' and self._settings.preload \
                and any(name in MODEL_PARAMETERS for name in names):
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

    def _tick(self) -> None:
        self._clear_leftovers()
        if self._inputs is not None:
            self._inputs.tick()

    def _report(self) -> None:
        settings = self._settings
        facts = {'state': self.state, 'model': ModelRequest.of(settings).path}
        warnings: list[str] = []
        device = 'cpu'
        if self._pipeline is not None and self._outputs is not None:
            segmenter = self._pipeline.segmenter
            device = segmenter.device
            facts |= {'model': self._pipeline.request.path, 'network': segmenter.manifest.model,
                      'backend': segmenter.engine_name, 'device': device,
                      'precision': segmenter.precision,
                      'label_info': self._outputs.label_info_state}
            warnings += filter(None, [self._pipeline.fallback])
        elif self._loader.is_loading:
            facts['state'] += ', loading the model'
        unaligned = ''
        if self._inputs is not None:
            self._inputs.fold()
            facts |= self._inputs.facts()
            unaligned = self._inputs.unaligned
            warnings += self._inputs.warnings
        report = self._statistics.report(
            problem=self.problem, enabled=self._enabled, unaligned=unaligned, warnings=warnings,
            active_since_s=self._active_since_s,
            # As many frames as may be; two periods, because the first may just have been missed.
            stale_timeout_s=max(settings.stale_timeout,
                                2 / settings.publish_rate_max if settings.publish_rate_max else 0),
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
