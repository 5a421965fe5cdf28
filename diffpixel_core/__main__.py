# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The `diffpixel` command. Each command imports what it needs when it runs, `--help` nothing.

Progress goes to standard error, results to standard output. Exit code 0: done; 2: a mistake the
user can mend, named in one line; 1: a bug of ours, with its traceback; 130: interrupted.
"""

import argparse
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from diffpixel_core.depth import DEPTH_UNITS
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.synchronise import MISSING_DEPTH
from diffpixel_core.threads import let_waiting_threads_sleep

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger(__name__)

# The demo's walk: 8 s through a living room that no model was trained on (training seeds lie below
# 900,000), picked among 48 for how many classes it shows and how far it goes.
WALK_SEED, WALK_KIND = 950_008, 'living_room'
WALK_FRAMES, WALK_FPS = 120, 15.0
SENSORS = ('perfect', 'kinect_v1', 'realsense')


class UsageError(DiffPixelError):
    """Options that do not go together."""


class FailedChecksError(Exception):
    """The demo ran, but not everything that came out was right: our fault, not the user's."""


class _Parser(argparse.ArgumentParser):
    """Argument parser whose complaints fit on one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'{self.prog}: {message}; see {self.prog} --help\n')


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a positive whole number')
    return value


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.lower().partition('x')
    if not cross or not height.isdigit() or not width.isdigit() or not int(height) * int(width):
        raise argparse.ArgumentTypeError(f'{text!r} is no size; write HEIGHTxWIDTH, as in 480x640')
    return int(height), int(width)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog='diffpixel', description='RGB-D semantic segmentation for robots.')
    parser.add_argument('--verbose', action='store_true', help='log what happens, in detail')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')

    def add(name: str, run: Callable[[argparse.Namespace], None], text: str) -> _Parser:
        command: _Parser = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    demo = add('demo', _demo, 'Play RGB-D images over ROS 2 through the node; report and score.')
    source = demo.add_mutually_exclusive_group()
    source.add_argument('--bag', type=Path, help='a rosbag2 to play (default: a generated walk)')
    source.add_argument('--frames', type=Path, metavar='DIR',
                        help='a folder of colour and depth images to play')
    demo.add_argument('--depth-unit', choices=DEPTH_UNITS, help='unit of the folder\'s depth')
    demo.add_argument('--fps', type=_positive, default=30.0, help='frames per second of --frames')
    demo.add_argument('--rgb-topic', default='', metavar='TOPIC',
                      help='colour images in --bag (default: as the common drivers name them)')
    demo.add_argument('--depth-topic', default='', metavar='TOPIC',
                      help='depth images aligned to them')
    demo.add_argument('--model', default='rooms_t', metavar='PATH',
                      help='model directory or shipped name (default: rooms_t)')
    demo.add_argument('--engine', default='auto', metavar='NAME', help='runtime (default: auto)')
    demo.add_argument('--rate', type=_positive, default=1.0, metavar='R',
                      help='speed of replay; 0.2 = five times slower (default: 1)')
    demo.add_argument('--output', type=Path, default=Path('out/demo'), metavar='DIR')

    synth = add('synth', _synth, 'Generate indoor rooms as image folders with exact labels.')
    synth.add_argument('kind', choices=('frames', 'walk'),
                       help='single views of many rooms, or a camera walk through one')
    synth.add_argument('--count', type=_count, default=20, metavar='N', help='number of frames')
    synth.add_argument('--seed', type=int, default=0, metavar='S')
    synth.add_argument('--sensor', choices=SENSORS, default='kinect_v1', help='depth noise')
    synth.add_argument('--size', type=_size, default=(480, 640), metavar='HxW')
    synth.add_argument('--fps', type=_positive, default=30.0, help='frames per second of a walk')
    synth.add_argument('--workers', type=_count, default=2, metavar='N', help='processes')
    synth.add_argument('--output', type=Path, required=True, metavar='DIR')

    bag = add('bag', _bag, 'Make a rosbag2 of a folder of colour and depth images.')
    bag.add_argument('--frames', type=Path, required=True, metavar='DIR')
    bag.add_argument('--depth-unit', choices=DEPTH_UNITS, required=True, metavar='U',
                     help=f'one of {", ".join(DEPTH_UNITS)}')
    bag.add_argument('--fps', type=_positive, default=30.0)
    bag.add_argument('--storage', choices=('mcap', 'sqlite3'), default='mcap')
    bag.add_argument('--output', type=Path, required=True, metavar='BAG')

    train = add('train', _train, 'Train a network from a YAML recipe.')
    train.add_argument('--config', type=Path, required=True, metavar='YAML')
    train.add_argument('--backbone-weights', '--backbone_weights', metavar='SOURCE',
                       help='ImageNet weights to start from: a file, or a repository of the '
                       'Hugging Face Hub such as nvidia/mit-b0')
    train.add_argument('overrides', nargs=argparse.REMAINDER, metavar='--any.key value',
                       help='settings that override the recipe')

    evaluate = add('evaluate', _evaluate, 'Score a model on held-out frames.')
    evaluate.add_argument('model', help='model directory or shipped name')
    evaluate.add_argument('--data', type=Path, required=True, metavar='YAML',
                          help='a recipe; its held-out frames are scored')
    evaluate.add_argument('--json', type=Path, metavar='FILE', help='write the figures there, too')

    predict = add('predict', _predict, 'Segment one pair of images; write labels and a picture.')
    predict.add_argument('model', help='model directory or shipped name')
    predict.add_argument('rgb', type=Path)
    predict.add_argument('depth', type=Path)
    predict.add_argument('--depth-unit', choices=DEPTH_UNITS, default='mm')
    predict.add_argument('--output', type=Path, default=Path('out/predict'), metavar='DIR')

    info = add('info', _info, 'List every network: parameters, cost, published accuracy.')
    info.add_argument('model', nargs='?', help='a network\'s name, a model directory or a shipped '
                      'name (default: all networks)')
    info.add_argument('--classes', type=_count, metavar='N',
                      help='default: 40, or a trained model\'s own')
    info.add_argument('--size', type=_size, metavar='HxW',
                      help='default: 480x640, or the size a model was trained at')
    info.add_argument('--tables', action='store_true',
                      help='the paper\'s Tables II to V beside ours, misprints explained')
    info.add_argument('--json', nargs='?', type=Path, const=Path('-'), metavar='FILE',
                      help='as JSON, to standard output or a file')

    replay = add('replay', _replay, 'Segment recordings: scores, statistics, predictions, report.')
    replay.add_argument('bags', nargs='+', type=Path, metavar='BAG',
                        help='a rosbag2 folder, a .mcap or .db3 file, or a ROS 1 .bag')
    replay.add_argument('--live', action='store_true',
                        help='through the running node over ROS 2 (default: offline, without ROS, '
                        'every pair, as fast as the machine goes)')
    replay.add_argument('--rate', type=_positive, metavar='R',
                        help='speed of --live; 0.2 = five times slower (default: 1)')
    replay.add_argument('--loop', type=_count, metavar='N',
                        help='play each bag N times, with --live (default: 1)')
    replay.add_argument('--truth', default='', metavar='TOPIC_OR_DIR',
                        help='label topic, or folder of PNG label images named by stamp in '
                        'nanoseconds or in order of the colour images; for several bags one folder '
                        'each, named as the bag (default: the label topic of the bag, if any)')
    replay.add_argument('--truth-space', default='nyu40', metavar='NAME',
                        help='label space of the truth (default: nyu40)')
    replay.add_argument('--rgb-topic', default='', metavar='TOPIC',
                        help='colour images (default: as the common drivers name them)')
    replay.add_argument('--depth-topic', default='', metavar='TOPIC',
                        help='depth images aligned to them')
    replay.add_argument('--model', default='rooms_t', metavar='PATH',
                        help='model directory or shipped name (default: rooms_t)')
    replay.add_argument('--engine', default='auto', metavar='NAME', help='runtime (default: auto)')
    replay.add_argument('--device', default='auto', metavar='D',
                        help='auto, cpu, cuda or cuda:N (default: auto)')
    replay.add_argument('--workers', type=_count, default=1, metavar='N',
                        help='bags replayed at a time, each in a process (default: 1)')
    replay.add_argument('--ray', metavar='ADDRESS',
                        help='spread the bags over a Ray cluster: auto, local or ray://HOST:PORT; '
                        'the bags must be readable on its machines')
    replay.add_argument('--missing-depth', choices=MISSING_DEPTH, default='wait',
                        help='what becomes of colour while no depth comes (default: wait)')
    replay.add_argument('--sync-slop', type=float, default=0.02, metavar='S',
                        help='largest difference of the stamps of a pair, seconds (default: 0.02)')
    replay.add_argument('--class-map', default='', metavar='FILE',
                        help='YAML file that groups the classes, or groups')
    replay.add_argument('--confidence-threshold', type=float, default=0.0, metavar='C',
                        help='less certain pixels become unlabelled, 0 to 1 (default: 0)')
    replay.add_argument('--stride', type=_count, default=1, metavar='N',
                        help='segment every Nth pair only (default: 1)')
    replay.add_argument('--json', nargs='?', type=Path, const=Path('-'), metavar='FILE',
                        help='the figures as JSON, to standard output or a file')
    replay.add_argument('--output', type=Path, required=True, metavar='DIR')

    convert = add('convert', _convert, 'Turn a foreign checkpoint into a model directory.')
    convert.add_argument('file', help='safetensors or torch.save; for segformer and swin also a '
                         'repository of the Hugging Face Hub')
    convert.add_argument('--from', dest='kind', required=True,
                         choices=('diffpixelformer', 'geminifusion', 'segformer', 'swin'),
                         help='what the file is: a published RGB-D network, or ImageNet weights')
    convert.add_argument('--model', required=True, metavar='NAME',
                         help='what it becomes, see `diffpixel info`')
    convert.add_argument('--classes', type=_count, required=True, metavar='N')
    convert.add_argument('--output', type=Path, required=True, metavar='DIR')
    return parser


def _demo(options: argparse.Namespace) -> None:
    if options.frames is not None and options.depth_unit is None:
        raise UsageError('--frames needs --depth-unit (one of '
                         f'{", ".join(DEPTH_UNITS)}): images do not say what a depth step is')
    if options.frames is None and options.depth_unit is not None:
        raise UsageError('--depth-unit belongs to --frames; a bag says its own unit')
    from diffpixel_core.checkpoints import find_model
    model = find_model(options.model)  # before minutes of rendering, not after

    _make_folder(options.output)
    generated = options.bag is None and options.frames is None
    if generated:
        bag = _walk_bag(options.output)
    elif options.frames is not None:
        bag = options.output / 'frames.mcap'
        bag.unlink(missing_ok=True)
        _folder_bag(options.frames, options.depth_unit, options.fps, 'mcap', bag)
    else:
        bag = options.bag

    from rich.console import Console

    from diffpixel_ros.demo import demo_table, run_demo
    result = run_demo(bag=bag, model=model, engine=options.engine, rate=options.rate,
                      output=options.output, rgb_topic=options.rgb_topic,
                      depth_topic=options.depth_topic, generated=generated,
                      command=shlex.join(['diffpixel', *sys.argv[1:]]))
    Console().print(demo_table(result))
    if not result.passed:
        raise FailedChecksError(f'some checks failed; {options.output}/report.html says which')


def _walk_bag(output: Path) -> Path:
    """Return a bag of a camera walk through a generated room; rendered once, then reused."""
    bag = output / f'walk-{WALK_SEED}-{WALK_FRAMES}.mcap'
    if bag.exists():
        return bag
    from diffpixel_core.geometry import NYU_CAMERA
    from diffpixel_core.rgbd_bags import samples_from_folder, write_rgbd_bag
    from diffpixel_core.synthetic.generate import generate_walk
    folder = output / f'walk-{WALK_SEED}-{WALK_FRAMES}'
    generate_walk(folder, count=WALK_FRAMES, seed=WALK_SEED, sensor='kinect_v1',
                  camera=NYU_CAMERA, fps=WALK_FPS, workers=2, kind=WALK_KIND)
    write_rgbd_bag(bag, samples_from_folder(folder, 'mm', fps=WALK_FPS), NYU_CAMERA)
    return bag


def _folder_bag(folder: Path, unit: str, fps: float, storage: str, bag: Path) -> int:
    """Write a bag of an image folder; return its frames."""
    from rich.progress import track

    from diffpixel_core.geometry import NYU_CAMERA
    from diffpixel_core.image_folder import find_frames, load_pair, read_camera
    from diffpixel_core.rgbd_bags import samples_from_folder, write_rgbd_bag
    frames = find_frames(folder)
    height, width = load_pair(frames[0], unit)[1].shape
    camera = read_camera(folder, width=width, height=height)
    if camera is None:
        camera = NYU_CAMERA.resized(width, height)
        logger.warning('%s has no camera file: camera_info gets the intrinsics of a Kinect v1; '
                       'labels do not depend on them, point clouds would', folder)
    samples = track(samples_from_folder(folder, unit, fps=fps), f'writing {bag.name}',
                    total=len(frames), console=_stderr(), transient=True)
    return write_rgbd_bag(bag, samples, camera, storage=storage)


def _synth(options: argparse.Namespace) -> None:
    from diffpixel_core.geometry import NYU_CAMERA
    from diffpixel_core.synthetic.generate import generate_frames, generate_walk
    height, width = options.size
    camera = NYU_CAMERA.resized(width, height)
    if options.kind == 'frames':
        report = generate_frames(options.output, count=options.count, seed=options.seed,
                                 sensor=options.sensor, camera=camera, workers=options.workers)
    else:
        report = generate_walk(options.output, count=options.count, seed=options.seed,
                               sensor=options.sensor, camera=camera, fps=options.fps,
                               workers=options.workers)
    print(f'{report.folder}: {report.frames} frames, sensor {report.sensor}')
    pixels = max(1, sum(report.classes.values()))
    for name, count in sorted(report.classes.items(), key=lambda row: -row[1]):
        print(f'{count / pixels:8.3%}  {name}')


def _bag(options: argparse.Namespace) -> None:
    count = _folder_bag(options.frames, options.depth_unit, options.fps, options.storage,
                        options.output)
    print(f'{options.output}: {count} frames at {options.fps:g} Hz, {options.storage}')


def _train(options: argparse.Namespace) -> None:
    from diffpixel_core.config import load_config
    if options.backbone_weights is not None:
        options.overrides += ['--backbone_weights', options.backbone_weights]
    config = load_config(options.config, options.overrides)
    let_waiting_threads_sleep()
    from diffpixel_core.train import train
    print(train(config))


def _evaluate(options: argparse.Namespace) -> None:
    from diffpixel_core.config import load_data_config
    data = load_data_config(options.data)
    let_waiting_threads_sleep()
    from diffpixel_core.evaluate import evaluate_model
    figures = json.dumps(evaluate_model(options.model, data), indent=2)
    print(figures)
    if options.json is not None:
        _write_text(options.json, figures + '\n')


def _predict(options: argparse.Namespace) -> None:
    import cv2

    from diffpixel_core.frame import Frame
    from diffpixel_core.image_folder import read_colour, read_depth
    from diffpixel_core.segmenter import load_segmenter
    frame = Frame(read_colour(options.rgb), read_depth(options.depth, options.depth_unit))
    seen = load_segmenter(options.model)(frame)
    picture = seen.label_space.colourise(seen.labels)
    overlay = cv2.addWeighted(frame.rgb, 0.4, picture, 0.6, 0)
    _make_folder(options.output)
    for name, image in (('labels', seen.labels), ('confidence', seen.confidence),
                        ('colour', picture[..., ::-1]), ('overlay', overlay[..., ::-1])):
        file = options.output / f'{options.rgb.stem}.{name}.png'
        if not cv2.imwrite(str(file), image):
            raise UsageError(f'cannot write {file}; choose another --output')
        print(file)


def _info(options: argparse.Namespace) -> None:
    from diffpixel_core.info import find_info, info_json, is_known
    if options.json is not None and is_known(str(options.json)):
        raise UsageError(f'--json would write a file called {options.json}; the model goes first: '
                         f'diffpixel info {options.json} --json')
    if options.tables and options.model is None and (options.classes or options.size):
        raise UsageError('--tables are counted at the paper\'s sizes and number of classes; leave '
                         '--size and --classes out')
    tables_only = options.tables and options.model is None and options.json is None
    info = None if tables_only else find_info(options.model, classes=options.classes,
                                              size=options.size)
    if options.json is not None and info is not None:
        text = json.dumps(info_json(info, tables=options.tables), indent=2)
        if options.json == Path('-'):
            print(text)
        else:
            _write_text(options.json, text + '\n')
        return

    from rich.console import Console

    from diffpixel_core.info_tables import model_card, models_table, paper_tables
    console = Console(markup=False, emoji=False)  # a path may hold brackets
    if info is not None:
        console.print(models_table(info.rows) if options.model is None else model_card(info))
    if options.tables:
        console.print(paper_tables())


def _replay(options: argparse.Namespace) -> None:
    if not options.live and (options.rate or options.loop):
        raise UsageError('--rate and --loop belong to --live; offline every pair is segmented as '
                         'fast as the machine goes')
    if options.live and (options.ray or options.workers > 1 or options.stride > 1):
        raise UsageError('--live plays one bag after the other through one node; leave --workers, '
                         '--ray and --stride out')
    if options.ray and options.workers > 1:
        raise UsageError('--ray and --workers exclude each other: Ray knows how many bags its '
                         'machines can take')
    from diffpixel_core.replay.settings import ReplaySettings
    settings = ReplaySettings(
        model=options.model, engine=options.engine, device=options.device,
        colour_topic=options.rgb_topic, depth_topic=options.depth_topic, truth=options.truth,
        truth_space=options.truth_space, missing_depth=options.missing_depth,
        sync_slop_s=options.sync_slop, class_map=options.class_map,
        confidence_threshold=options.confidence_threshold, stride=options.stride)
    let_waiting_threads_sleep()

    from diffpixel_core.replay.run import run_replay
    from diffpixel_core.replay.spread import run_here, run_in_processes, run_on_ray
    how = 'offline'
    runner = run_here
    if options.live:
        from diffpixel_ros.live_replay import run_live
        rate, loop = options.rate or 1.0, options.loop or 1
        runner = partial(run_live, rate=rate, loop=loop)
        how = f'through the running node at {rate:g} times the recorded rate'
    elif options.ray:
        runner = partial(run_on_ray, address=options.ray)
        how = 'offline, on a Ray cluster,'
    elif options.workers > 1 and len(options.bags) > 1:
        runner = partial(run_in_processes, workers=options.workers)
        how = f'offline, in {min(options.workers, len(options.bags))} processes,'
    result = run_replay(options.bags, settings, options.output, runner, how=how,
                        command=shlex.join(['diffpixel', *sys.argv[1:]]))

    from diffpixel_core.replay.summary import metrics, replay_table
    if options.json == Path('-'):
        print(json.dumps(metrics(result), indent=2))
    else:
        from rich.console import Console
        Console(markup=False, emoji=False).print(replay_table(result))
        if options.json is not None:
            _write_text(options.json, json.dumps(metrics(result), indent=2) + '\n')
    if result.problem:
        raise UsageError(f'{result.problem} (all other results are in {options.output})')
    if not result.passed:
        raise FailedChecksError(f'some checks failed; {options.output}/report.html says which')


def _convert(options: argparse.Namespace) -> None:
    from rich.console import Console

    from diffpixel_core.converters.conversion import conversion_text, convert_file
    conversion = convert_file(options.file, options.kind, model=options.model,
                              classes=options.classes, output=options.output)
    Console(markup=False, emoji=False).print(conversion_text(conversion))


def _write_text(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        raise UsageError(f'cannot write {file}: {error.strerror}') from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f'cannot make the folder {folder}: {error.strerror}; choose another '
                         '--output') from error


def _stderr() -> 'Console':
    from rich.console import Console
    return Console(stderr=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest:
        if options.command != 'train':
            parser.error(f'{options.command} does not know {" ".join(rest)}')
        options.overrides = [*rest, *options.overrides]
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO,
                        format='%(levelname)s %(name)s: %(message)s', stream=sys.stderr)
    if not options.verbose:
        logging.getLogger('rosbags').setLevel(logging.WARNING)
    try:
        options.run(options)
    except DiffPixelError as error:
        print(f'diffpixel {options.command}: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    except FailedChecksError as error:
        print(f'diffpixel {options.command}: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'diffpixel {options.command}: interrupted', file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


if __name__ == '__main__':
    sys.exit(main())
