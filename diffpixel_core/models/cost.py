# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a network costs, by formula: multiply-accumulates without running or even building it.

The rule is the one the published tables were counted by, see `RULE`. Counted is the network as the
papers draw it; of the rewritings that leave its values alone, our code's decoder (fused at each
level's resolution) is not credited, the two products for `Dsim`'s three values are.

Source: DiffPixelFormer (arXiv 2511.13047), Tables III and IV, which the rule meets to both decimals
(see `paper` for the exceptions); the layers as described in `mit`, `swin`, `released`, `ablations`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from diffpixel_core.models import ablations, released
from diffpixel_core.models.diffpixelformer import Dsim, NoFusion
from diffpixel_core.models.layers import Fusion
from diffpixel_core.models.mit import Mit
from diffpixel_core.models.swin import Swin

RULE = (
    'GMAC: 10^9 multiply-accumulates for one pair of images. Linear layers, convolutions and '
    'matrix products count 1 each (attention included, also over the keys of one pixel), layer '
    'norm 5 an element, batch norm 2 an element (5 in training mode), bilinear enlargement 4 an '
    'output element; activations, softmax, sums, biases and element-wise products count nothing. '
    'The decoder is counted as the paper draws it.'
)

STRIDES = (4, 8, 16, 32)
HEAD_CHANNELS = 256
LAYER_NORM, BATCH_NORM, BATCH_NORM_TRAINING, ENLARGEMENT = 5, 2, 5, 4  # MAC an element
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Operations:
    """Everything the rule counts, apart.

    Attributes:
        products: Multiply-accumulates of linear layers, convolutions and matrix products.
        layer_norm: Elements normalised over channels.
        batch_norm: Elements normalised by batch statistics.
        enlarged: Elements that come out of bilinear enlargement.
    """

    products: int = 0
    layer_norm: int = 0
    batch_norm: int = 0
    enlarged: int = 0

    def __add__(self, other: 'Operations') -> 'Operations':
        """Return both together."""
        return Operations(self.products + other.products, self.layer_norm + other.layer_norm,
                          self.batch_norm + other.batch_norm, self.enlarged + other.enlarged)

    def __mul__(self, times: int) -> 'Operations':
        """Return these operations done so many times."""
        return Operations(self.products * times, self.layer_norm * times,
                          self.batch_norm * times, self.enlarged * times)

    def gmac(self, *, training: bool = False) -> float:
        """Return 10^9 multiply-accumulates; batch norm in eval or in training mode."""
        batch_norm = BATCH_NORM_TRAINING if training else BATCH_NORM
        return (self.products + LAYER_NORM * self.layer_norm + batch_norm * self.batch_norm
                + ENLARGEMENT * self.enlarged) / 1e9


@dataclass(frozen=True, slots=True)
class Cost:
    """Multiply-accumulates of a network, and of the published code for the same network.

    Attributes:
        live: What the network needs, its decoder as drawn.
        dead: What the published code computes besides and can never reach its output.
        published: All that the published code computes: `live`, `dead`, and what it computes more
            often than needed.
        parameters_dead: Parameters of `dead`; ours does not have them.
    """

    live: Operations
    dead: Operations
    published: Operations
    executed: Operations
    parameters_dead: int

    @property
    def gmac(self) -> float:
        """What the network needs with the decoder as drawn, batch norm in eval mode."""
        return self.live.gmac()

    @property
    def gmac_dead(self) -> float:
        """What the published code computes in vain; 0 where all of it reaches the output."""
        return self.dead.gmac()

    @property
    def gmac_published(self) -> float:
        """What the published code computes, batch norm in eval mode."""
        return self.published.gmac()

    @property
    def gmac_executed(self) -> float:
        """What our code computes, batch norm in eval mode."""
        return self.executed.gmac()

    @property
    def gmac_training(self) -> float:
        """What the published code computes, batch norm in training mode: as the paper prints."""
        return self.published.gmac(training=True)


def network_cost(backbone: Mit | Swin, fusion: Fusion, classes: int, size: Size, *,
                 pairs: int = 1) -> Cost:
    """Return what a two-stream network costs.

    Args:
        backbone: Numbers of the encoder.
        fusion: Class of the inter-modal module, one of the registry's.
        classes: Number of classes K.
        size: `(height, width)` of the images, pixels.
        pairs: Image pairs at once. The published one-key attention runs along the batch, so that
            its dead products grow with the square; everything else is proportional.
    """
    assert fusion in _FUSIONS, f'say here what {fusion} costs'
    row = _FUSIONS[fusion]
    grids = _grids(size)
    encoder = _mit(backbone, grids) if isinstance(backbone, Mit) else _swin(backbone, grids)
    live = encoder + decoder_operations(backbone.dims, classes, size)
    folded = Operations(decoder_saving(backbone.dims, size))
    dead, repeated, parameters_dead = Operations(), Operations(), 0
    for dim, depth, grid in zip(backbone.dims, backbone.depths, grids, strict=True):
        live += row.live(dim, grid) * depth
        repeated += row.repeated(dim, grid) * depth
        dead += row.dead(dim, grid) * depth
        # One pixel's queries and keys of all images meet: `pairs` times as many scores an image.
        dead += row.one_key(dim, grid) * depth * pairs
        parameters_dead += row.parameters_dead(dim) * depth
    return Cost(live * pairs, dead * pairs, (live + dead + repeated) * pairs,
                (live + folded * -1) * pairs, parameters_dead)


def decoder_operations(dims: tuple[int, ...], classes: int, size: Size) -> Operations:
    """Return the cost of both streams' decoders as drawn: enlarge, concatenate, fuse, classify.

    Args:
        dims: Channels of the four levels, finest first.
        classes: Number of classes K.
        size: `(height, width)` of the images, pixels.
    """
    grids = _grids(size)
    finest = _area(grids[0])
    linears = sum(_area(grid) * dim * HEAD_CHANNELS for dim, grid in zip(dims, grids, strict=True))
    fuse = finest * len(dims) * HEAD_CHANNELS * HEAD_CHANNELS
    return Operations(
        products=linears + fuse + finest * HEAD_CHANNELS * classes,
        batch_norm=finest * HEAD_CHANNELS,
        enlarged=(len(dims) - 1) * finest * HEAD_CHANNELS,
    ) * 2


def decoder_saving(dims: tuple[int, ...], size: Size) -> int:
    """Return the products that fusing each level before it is enlarged saves, both streams.

    Args:
        dims: Channels of the four levels, finest first.
        size: `(height, width)` of the images, pixels.
    """
    areas = [_area(grid) for grid in _grids(size)]
    return 2 * HEAD_CHANNELS ** 2 * (len(dims) * areas[0] - sum(areas))


def _mit(row: Mit, grids: list[Size]) -> Operations:
    """Return the cost of both streams of a MiT without its fusions."""
    total = Operations()
    patches = (3 * 7 * 7, *(9 * dim for dim in row.dims[:-1]))
    for s, (height, width) in enumerate(grids):
        n, c, r = height * width, row.dims[s], row.reductions[s]
        context = (height // r) * (width // r)  # tokens that give keys and values
        hidden = row.expansion * c
        total += Operations(products=n * c * patches[s], layer_norm=n * c + n * c)  # and the output
        block = Operations(
            products=(n * c * c                                      # queries
                      + (context * c * c * r * r if r > 1 else 0)    # reduction
                      + context * 2 * c * c                          # keys, values
                      + 2 * n * context * c                          # attention
                      + n * c * c                                    # projection
                      + 2 * n * c * hidden + 9 * n * hidden),        # feed-forward
            layer_norm=2 * n * c + (context * c if r > 1 else 0),
        )
        total += block * row.depths[s]
    return total * 2


def _swin(row: Swin, grids: list[Size]) -> Operations:
    """Return the cost of both streams of a Swin without its fusions."""
    total = Operations(products=_area(grids[0]) * row.dim * 3 * 16,
                       layer_norm=_area(grids[0]) * row.dim)
    for s, (dim, grid) in enumerate(zip(row.dims, grids, strict=True)):
        n, padded = _area(grid), _area(_whole(grid, row.window))
        block = Operations(
            products=(padded * 4 * dim * dim                         # queries, keys, values, out
                      + 2 * padded * row.window ** 2 * dim           # attention
                      + 2 * n * dim * row.expansion * dim),          # feed-forward
            layer_norm=2 * n * dim,
        )
        total += block * row.depths[s] + Operations(layer_norm=n * dim)  # and the output
        if s + 1 < len(grids):                                       # 2x2 tokens into one
            merged = _area(grids[s + 1])
            total += Operations(products=merged * 4 * dim * 2 * dim, layer_norm=merged * 4 * dim)
    return total * 2


def _grids(size: Size) -> list[Size]:
    return [(-(-size[0] // stride), -(-size[1] // stride)) for stride in STRIDES]


def _whole(grid: Size, window: int) -> Size:
    return -(-grid[0] // window) * window, -(-grid[1] // window) * window


def _area(grid: Size) -> int:
    return grid[0] * grid[1]


_PerBlock = Callable[[int, Size], Operations]


def _per_pixel(squares: int, linears: int = 0) -> _PerBlock:
    """Return the cost of `squares` C^2 + `linears` C products at each position."""
    def count(dim: int, grid: Size) -> Operations:
        return Operations(_area(grid) * (squares * dim * dim + linears * dim))
    return count


def _nothing(dim: int, grid: Size) -> Operations:
    return Operations()


class _Row(NamedTuple):
    """What a fusion costs: C channels on a grid.

    Attributes:
        live: What it needs.
        repeated: What the published code computes more often than needed.
        dead: What it computes in vain, without the attention over one key.
        one_key: That attention, for one pair of images.
        parameters_dead: Parameters it has in vain.
    """

    live: _PerBlock
    repeated: _PerBlock = _nothing
    dead: _PerBlock = _nothing
    one_key: _PerBlock = _nothing
    parameters_dead: Callable[[int], int] = lambda dim: 0


def _cross_attention(dim: int, grid: Size) -> Operations:
    n = _area(grid)
    return Operations(n * (6 * dim * dim + 4 * n * dim))


def _windows(layers: int) -> _PerBlock:
    """Return the cost of cross-attention in windows, so many layers one after the other."""
    window = ablations.WINDOW

    def count(dim: int, grid: Size) -> Operations:
        padded = _area(_whole(grid, window))
        return Operations(layers * padded * (8 * dim * dim + 4 * window ** 2 * dim))
    return count


def _judge_eca(dim: int, grid: Size) -> Operations:
    kernel = int((math.log2(2 * dim) + 1) / 2) | 1
    return _per_pixel(18, 12)(dim, grid) + Operations(2 * (2 * dim * kernel + 2 * dim * dim))


def _judge_se(dim: int, grid: Size) -> Operations:
    squeezed = 2 * dim // 16
    return _per_pixel(18, 12)(dim, grid) + Operations(2 * (2 * dim * squeezed + squeezed * dim))


def _judge_gmlp(dim: int, grid: Size) -> Operations:
    return _per_pixel(26, 12)(dim, grid) + Operations(layer_norm=2 * dim * _area(grid))


# Both directions at each position. Similarity f_s: 2 x 3 C^2; difference f_d: 2 x 2 C^2; queries,
# one key, one value, output: 2 C^2 each; attention over j keys: 4 j C.
_THIRD_VALUE = _per_pixel(2)  # two products serve three values
_DSIM = _Row(_per_pixel(24, 12), repeated=_THIRD_VALUE)
_FUSIONS: Mapping[Fusion, _Row] = {
    NoFusion: _Row(_nothing),
    Dsim: _DSIM,
    ablations.DsimNoFactor: _DSIM,
    ablations.DsimEq8: _DSIM,
    ablations.JudgeSigmoid: _DSIM,
    ablations.JudgeEca: _Row(_judge_eca, repeated=_THIRD_VALUE),
    ablations.JudgeSe: _Row(_judge_se, repeated=_THIRD_VALUE),
    ablations.JudgeGmlp: _Row(_judge_gmlp, repeated=_THIRD_VALUE),
    released.TwoKeys: _Row(_per_pixel(18, 8)),
    # Dead: both discriminators, queries, keys; 2 factors a direction, a row of noise a modality.
    released.OneKey: _Row(_per_pixel(4), dead=_per_pixel(14), one_key=_per_pixel(0, 4),
                          parameters_dead=lambda dim: 11 * dim * dim + 12 * dim + 4),
    # Dead: queries, keys.
    ablations.PixelCrossAttention: _Row(_per_pixel(4), dead=_per_pixel(4),
                                        one_key=_per_pixel(0, 4),
                                        parameters_dead=lambda dim: 4 * dim * dim + 4 * dim),
    ablations.CrossAttention: _Row(_cross_attention),
    ablations.LocalCrossAttention: _Row(_windows(1)),
    ablations.WindowCrossAttention: _Row(_windows(2)),
}
