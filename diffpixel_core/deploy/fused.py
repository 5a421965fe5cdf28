# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The folded graph, cut where the kernels of `diffpixel_core.kernels` fit, for a GPU.

What is exported, and what runs on a CPU, stays as `fold` makes it: there, products with zeros and
ones beat reductions over a head, and nothing is gained by laying weights side by side. On a GPU
each pass over memory counts, so the parts below read and write tokens once:

 * `FusedDsim`: `gates`, one product with W_K for both gated tokens, `pixel_attention`.
 * `FusedStage`: every residual sum and the norm behind it as one `add_norm`, across blocks.
 * `FusedFeedForward`: `depthwise_gelu`.
 * `FusedInputs`: `prepare_images`.

Every part takes over the weights of what it stands for, on the device and in the type they have.
"""

import torch
from torch import Tensor, nn

from diffpixel_core.deploy.folds import FoldedDsim
from diffpixel_core.deploy.graph import DeployGraph, NetworkInputs
from diffpixel_core.kernels import (
    MEASURED,
    add_norm,
    chosen,
    depthwise_gelu,
    gates,
    pixel_attention,
    prepare_images,
    taps_apart,
)
from diffpixel_core.models.diffpixelformer import HEADS
from diffpixel_core.models.layers import PairNorm, pair_linear, to_maps
from diffpixel_core.models.mit import Block, MixFeedForward, Stage


def fuse(graph: DeployGraph, use: str = MEASURED) -> None:
    """Replace, in place, the parts of a folded graph whose kernels are taken; the scores stay.

    Args:
        graph: The graph, on its device and in the type it computes in, not to be moved any more.
        use: As in `kernels.dispatch.chosen`, for every kernel. A part that needs two is replaced
            where both are taken; none is for `plain`.
    """
    weight = next(graph.network.parameters())

    def taken(*kernels: str) -> bool:
        return all(chosen(kernel, weight, weight.dtype, use) == 'triton' for kernel in kernels)

    if taken('prepare_images'):
        graph.set_submodule('inputs', FusedInputs(graph.inputs, weight.dtype))
    if taken('gates', 'pixel_attention'):
        fuse_fusions(graph, 'triton')
    for name, module in list(graph.named_modules()):  # a stage before what is in it
        if isinstance(module, Stage) and taken('add_norm'):
            graph.set_submodule(name, FusedStage(module))
        elif isinstance(module, MixFeedForward) and taken('depthwise_gelu'):
            graph.set_submodule(name, FusedFeedForward(module))


def fuse_fusions(graph: DeployGraph, use: str) -> None:
    """Replace, in place, every folded `Dsim` of a graph by a `FusedDsim`.

    Args:
        graph: The graph, on its device and in the type it computes in.
        use: `triton`, or `plain`, of which a compiler makes kernels of its own.
    """
    for name, module in list(graph.named_modules()):
        if isinstance(module, FoldedDsim):
            graph.set_submodule(name, FusedDsim(module, use))


class FusedDsim(nn.Module):
    """`FoldedDsim` between its products as two passes over the pixels.

    Args:
        folded: What it stands for; its parts are taken over.
        use: As in `kernels.dispatch.chosen`.
    """

    w_qkv: Tensor
    b_qkv: Tensor

    def __init__(self, folded: FoldedDsim, use: str) -> None:
        super().__init__()
        self.use = use
        self.folded = folded
        core = folded.attention
        self.register_buffer('w_qkv', torch.cat((core.w_q, core.w_k, core.w_v), dim=1))
        self.register_buffer('b_qkv', torch.cat((core.b_q, core.key_noise,
                                                 torch.zeros_like(core.b_q)), dim=1))

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` projected, fused tokens of intra-modal tokens a."""
        folded, core, other = self.folded, self.folded.attention, a.flip(0)
        gated = gates(a, folded.difference(a), folded.similarity.before_softmax(a, other),
                      use=self.use)                                                  # Eq. 4, 5
        second, third = core.key(gated.flatten(1, 2)).unflatten(1, (2, -1)).unbind(1)
        query, first, value = pair_linear(a, self.w_qkv, self.b_qkv).chunk(3, dim=-1)
        gathered = pixel_attention(query, (first, second, third), value, core.value(other),
                                   core.value_noise, folded.alpha, folded.beta, heads=HEADS,
                                   use=self.use)                                     # Eq. 5-8
        return core.output(a, gathered)


class FusedFeedForward(nn.Module):
    """`MixFeedForward` with convolution and GELU in one kernel.

    Args:
        feed: What it stands for; its parts are taken over.
    """

    taps: Tensor
    bias: Tensor

    def __init__(self, feed: MixFeedForward) -> None:
        super().__init__()
        self.fc1, self.fc2 = feed.fc1, feed.fc2
        assert feed.depthwise.bias is not None
        self.register_buffer('taps', taps_apart(feed.depthwise.weight.detach()))
        self.register_buffer('bias', feed.depthwise.bias.detach())

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` of `x` on the grid `size`."""
        out: Tensor = self.fc2(depthwise_gelu(self.fc1(x), size, self.taps, self.bias,
                                              use='triton'))
        return out


class FusedStage(nn.Module):
    """`Stage` in which what a branch adds is added where the next norm reads it.

    Args:
        stage: What it stands for, in eval mode: no path is dropped. Its parts are taken over.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.embed, self.blocks, self.norm = stage.embed, stage.blocks, stage.norm

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(2B, C, h, w)` of the previous stage's `(2B, C_in, H, W)`."""
        tokens, size = self.embed(maps)
        branch: Tensor | None = None
        for block in self.blocks:
            assert isinstance(block, Block)
            tokens, normed = _add_norm(tokens, branch, block.norm1)
            fused = block.fusion(block.attention(normed, size), size)
            tokens, normed = _add_norm(tokens, block.project(fused), block.norm2)
            branch = block.feed_forward(normed, size)
        return to_maps(_add_norm(tokens, branch, self.norm)[1], size)


class FusedInputs(nn.Module):
    """`NetworkInputs` in one kernel for each frame, in the type the network computes in.

    Args:
        inputs: What it stands for.
        dtype: Of the images it gives.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: NetworkInputs, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype, self.maximum = dtype, inputs.x_maximum
        for name, rgb, x in (('mean', inputs.rgb_mean, inputs.x_mean),
                             ('std', inputs.rgb_std, inputs.x_std)):
            self.register_buffer(name, torch.stack((rgb.flatten(), x.flatten().expand(3))))

    def forward(self, rgb: Tensor, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return both images as normalised `(B, 3, h, w)`; the arguments of `NetworkInputs`."""
        images = torch.stack([
            prepare_images(colour, other, size, mean=self.mean, std=self.std,
                           maximum=self.maximum, dtype=self.dtype, use='triton')
            for colour, other in zip(rgb, x, strict=True)], dim=1)
        return images[0], images[1]


def _add_norm(x: Tensor, branch: Tensor | None, norm: PairNorm) -> tuple[Tensor, Tensor]:
    """Return x + branch and its norm, `(2, B, N, C)` each."""
    return add_norm(x, branch, norm.weight, norm.bias, norm.eps, use='triton')
