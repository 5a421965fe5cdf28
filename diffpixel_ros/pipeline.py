# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Pipeline: from a pair of messages to everything that is published about it; the worker's job."""

import threading
import time
import traceback

from rclpy.node import Node

from diffpixel_core.errors import DeviceMemoryError, DiffPixelError
from diffpixel_core.frame import Frame, FrameError
from diffpixel_core.intake import DepthSettings, Intake, finish
from diffpixel_core.label_map import load_label_map
from diffpixel_core.messages import stamp_ns
from diffpixel_core.segmenter import Segmentation, Segmenter
from diffpixel_ros.diagnostics import Statistics
from diffpixel_ros.inputs import ImagePair, codecs
from diffpixel_ros.model_loader import ModelError, ModelRequest
from diffpixel_ros.outputs import Outputs, OutputStyle
from diffpixel_ros.parameters import NodeParameters


class Pipeline:
    """Decode, segment and publish one pair after another.

    `run` is called by the worker's thread, everything else by others.

    Args:
        node: For its clock and its logger.
        segmenter: The model.
        parameters: The node's settings.
        outputs: Where results go.
        statistics: Where results, drops and times are counted.

    Attributes:
        fallback: Why the model does not run on the best engine, or on the one it was asked to run
            on; empty if it does.

    Raises:
        LabelError: If the class map does not go with the model.
    """

    def __init__(self, node: Node, segmenter: Segmenter, parameters: NodeParameters,
                 outputs: Outputs, statistics: Statistics) -> None:
        self._node = node
        self._outputs = outputs
        self._statistics = statistics
        self._parameters = parameters
        self._codecs = codecs(parameters)
        self._class_map = parameters.class_map  # as configured, whatever is set later
        self._busy = threading.Lock()  # held while a frame is worked on
        self._segmenter = segmenter
        self._request = ModelRequest.of(parameters)
        self._label_map = load_label_map(self._class_map, segmenter.label_space)
        self._free_s = 0.0  # when the last frame was done
        self._labels_are_due = False
        self._is_closed = False
        self.fallback = _passed_over(segmenter)

    @property
    def segmenter(self) -> Segmenter:
        """The model in use."""
        return self._segmenter

    def set_parameters(self, parameters: NodeParameters) -> None:
        """Work by new settings from the next frame on."""
        if parameters.confidence_threshold != self._parameters.confidence_threshold:
            self._labels_are_due = True  # LabelInfo carries the threshold
        self._parameters = parameters

    @property
    def request(self) -> ModelRequest:
        """What was asked for when the model in use was loaded."""
        return self._request

    def replace_model(self, segmenter: Segmenter, request: ModelRequest) -> None:
        """Publish what the labels of another model mean, then use it; from any thread.

        Raises:
            LabelError: If the class map does not go with the new model; the old one stays.
            ModelError: If the pipeline was closed meanwhile.
        """
        label_map = load_label_map(self._class_map, segmenter.label_space)
        with self._busy:
            if self._is_closed:
                raise ModelError('the node was cleaned up meanwhile; configure loads the model')
            old, self._segmenter = self._segmenter, segmenter
            self._label_map, self._request = label_map, request
            self.fallback = _passed_over(segmenter)
            self._publish_labels()
        old.close()

    def publish_labels(self) -> None:
        """Publish the table of the labels; from any thread."""
        with self._busy:
            self._publish_labels()

    def close(self) -> None:
        """Free the model; nothing runs any more."""
        with self._busy:
            self._is_closed = True
            self._segmenter.close()

    def _publish_labels(self) -> None:
        self._labels_are_due = False
        manifest = self._segmenter.manifest
        self._outputs.publish_labels(
            self._label_map.space,
            {'name': manifest.model, 'weights_sha256': manifest.weights_sha256},
            confidence_threshold=self._parameters.confidence_threshold)

    def run(self, pair: ImagePair) -> None:
        """Segment and publish one pair; whatever fails is counted under its cause."""
        with self._busy:
            if self._labels_are_due:
                self._publish_labels()
            marks = [time.perf_counter()]
            cause = 'decode_error'
            parameters = self._parameters
            try:
                age_ns = self._node.get_clock().now().nanoseconds - stamp_ns(pair.colour)
                if parameters.max_age and age_ns > parameters.max_age * 1e9:
                    self._statistics.drop('stale', error=(
                        f'a pair was {age_ns / 1e9:.2f} s old, max_age is {parameters.max_age} s'))
                    return
                frame = self._intake(pair).frame(pair.colour, pair.depth)
                marks.append(time.perf_counter())
                cause = 'inference_error'
                seen = self._segment(frame)
                marks.append(time.perf_counter())
                cause = 'publish_error'
                seen = finish(seen, threshold=parameters.confidence_threshold,
                              label_map=self._label_map)
                self._outputs.publish(seen, frame, pair.colour.header, pair.calibration,
                                      _style(parameters))
                marks.append(time.perf_counter())
            except Exception as error:
                self._statistics.drop(cause, error=f'{cause}: {error}')
                details = '' if isinstance(error, DiffPixelError) else f'\n{traceback.format_exc()}'
                self._node.get_logger().error(f'{cause}: {error}{details}',
                                              throttle_duration_sec=5.0)
                return
            milliseconds = _stages(pair, self._free_s, age_ns, marks, seen)
            self._free_s = marks[-1]
            self._statistics.frame_out(milliseconds)
            self._outputs.publish_timings(seen.stamp_ns, milliseconds)

    def _intake(self, pair: ImagePair) -> Intake:
        now = self._parameters
        settings = DepthSettings(now.depth_scale, now.depth_min, now.depth_max, now.depth_fill)
        return Intake(*self._codecs, settings, pair.register)

    def _segment(self, frame: Frame) -> Segmentation:
        """Return the labels of a frame, even if the engine fails or its GPU has no memory left.

        A GPU without memory gives back its cache and tries again first. After that, and after any
        other failure, the next best engine takes over for good: slower, but the robot goes on
        seeing.
        """
        may_free = True
        while True:
            try:
                return self._segmenter(frame)
            except FrameError:  # the frame's own fault
                raise
            except DeviceMemoryError as error:
                if self._segmenter.device == 'cpu':  # no engine needs much less there
                    raise
                if may_free:
                    may_free = False
                    self._free_memory(error)
                else:
                    self._take_next_best(error, elsewhere=True)
            except Exception as error:
                self._take_next_best(error, elsewhere=False)

    def _free_memory(self, error: DeviceMemoryError) -> None:
        self._node.get_logger().warning(f'{error}; giving back its cache and trying again')
        self._segmenter.free_memory()

    def _take_next_best(self, error: Exception, *, elsewhere: bool) -> None:
        """Replace the engine by the next best one; raise the error if there is none.

        Args:
            error: What the engine failed with.
            elsewhere: Whether its device has no memory left.
        """
        old = self._segmenter
        try:
            self._segmenter = self._request.load_next_best(old, elsewhere=elsewhere)
        except DiffPixelError as reason:
            self._node.get_logger().warning(f'the engine cannot be replaced: {reason}')
            raise error from reason
        new = self._segmenter
        said = str(error).partition('\n')[0] or type(error).__name__
        failed = f'{old.engine_name} on {old.device} failed ({said})'
        self.fallback = (f'the model runs on {new.engine_name}, {new.device}, {new.precision}: '
                         f'{failed}; mend that, then call reload_model')
        self._node.get_logger().warning(self.fallback)
        old.close()


def _passed_over(segmenter: Segmenter) -> str:
    """Return which better engines failed when the model was loaded; empty if none did."""
    if not segmenter.passed_over:
        return ''
    return (f'the model runs on {segmenter.engine_name}, {segmenter.device}, '
            f'{segmenter.precision}, because better engines failed: '
            f'{"; ".join(segmenter.passed_over)}; mend that, then call reload_model')


def _style(parameters: NodeParameters) -> OutputStyle:
    return OutputStyle(parameters.overlay_alpha, parameters.points_void_nan, parameters.nav_stride)


def _stages(pair: ImagePair, free_s: float, age_ns: int, marks: list[float],
            seen: Segmentation) -> dict[str, float]:
    """Return the milliseconds of a frame by stage, see `diagnostics.STAGES`.

    Args:
        pair: What was segmented.
        free_s: When the worker had done the frame before.
        age_ns: How old the colour image was when decoding began.
        marks: When decoding, segmenting and publishing began, and the end.
        seen: The result.
    """
    begun, decoded, segmented, published = marks
    network, tail = seen.timings_ms['network'], seen.timings_ms['tail']
    queue = 1e3 * max(0.0, free_s - pair.arrived_s)
    total = 1e3 * (published - pair.arrived_s)
    return {'age': age_ns / 1e6, 'queue': queue, 'decode': 1e3 * (decoded - begun),
            'network': network, 'tail': tail, 'publish': 1e3 * (published - segmented),
            'own': total - queue - network - tail, 'total': total}
