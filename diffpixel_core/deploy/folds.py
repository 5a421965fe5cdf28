# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The deploy pass: exact algebra done once, so that a trained network costs less to run.

The values stay the same up to rounding; nothing is approximated and no variant becomes another.
With P, p the projection of a block after its fusion (on Swin there is none: P = 1, p = 0):

 * W_O and P meet without anything between: P (a + W_O t + b_O) + p = P a + (P W_O) t + constant.
 * `OneKey` and `PixelCrossAttention` are linear in the tokens: one product for each modality's own
   and one for the other's tokens, A a^m + B a^o + constant, instead of three.
 * A softmax over keys ignores what all keys share: b_K is dropped. The scale of the scores goes
   into W_Q and b_Q, W_K n_K and W_V n_V become constants, and b_V, whose weights sum to 1, too.
 * f_d of both directions starts from one difference, a^R - a^D; the sign goes into the weights.
 * In the head, the linear layer of a level, its share of the fusing convolution and the batch norm
   are one 1x1 convolution, at the level's own resolution.

What has no fold of its own here runs as it was trained.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.models.ablations import PixelCrossAttention
from diffpixel_core.models.diffpixelformer import HEADS, DiffPixelFormer, Dsim
from diffpixel_core.models.heads import MlpHead
from diffpixel_core.models.layers import PairLinear, pair_linear
from diffpixel_core.models.mit import Block as MitBlock
from diffpixel_core.models.released import OneKey, TwoKeys
from diffpixel_core.models.swin import Block as SwinBlock


@torch.no_grad()
def fold(model: nn.Module) -> nn.Module:
    """Return a network that gives the model's ensemble scores in fewer operations.

    It takes two normalised `(B, 3, H, W)` images and returns `(B, K, H/4, W/4)` class scores, the
    model's `.ensemble` up to rounding. The model itself is left as it is.

    Args:
        model: A network of `models.build_model`, in eval mode.
    """
    assert isinstance(model, DiffPixelFormer)
    assert not model.training, 'only a network in eval mode has constants to fold'
    # Products of weights in double precision: rounded once, as the weights themselves are.
    return Folded(copy.deepcopy(model).double()).to(model.alpha.dtype)


class Folded(nn.Module):
    """A `DiffPixelFormer` after the deploy pass.

    Args:
        model: The network, in eval mode; its parts are taken over.
    """

    def __init__(self, model: DiffPixelFormer) -> None:
        super().__init__()
        self.encoder = model.encoder
        for block in self.encoder.modules():
            if isinstance(block, MitBlock):
                folded = _folded_fusion(block.fusion, block.project)
                if folded is not None:
                    block.fusion = folded
                    block.set_submodule('project', nn.Identity())
            elif isinstance(block, SwinBlock):
                block.fusion = _folded_fusion(block.fusion, None) or block.fusion
        self.head = FoldedHead(model.head, model.alpha.softmax(0))
        self.requires_grad_(False)

    def forward(self, rgb: Tensor, x: Tensor) -> Tensor:
        """Return `(B, K, H/4, W/4)` class scores of two normalised `(B, 3, H, W)` images."""
        scores: Tensor = self.head(self.encoder(rgb, x))
        return scores


def _folded_fusion(fusion: nn.Module, project: nn.Linear | None) -> nn.Module | None:
    """Return one module for a fusion and the projection behind it, or None: there is no fold."""
    if isinstance(fusion, OneKey | PixelCrossAttention):
        return FoldedOneKey(fusion, project)
    if isinstance(fusion, TwoKeys):
        return FoldedTwoKeys(fusion, project)
    if type(fusion) is Dsim:  # what is derived from it computes something else
        return FoldedDsim(fusion, project)
    return None


class _Output:
    """`P (a + W_O t + b_O) + p` as `P a + weight t + bias`.

    Attributes:
        own: P, `(2, C, C)`.
        weight: P W_O, `(2, C, C)`.
        bias: P b_O + p, `(2, C)`.
    """

    def __init__(self, out: PairLinear, project: nn.Linear | None) -> None:
        dim = out.weight.shape[-1]
        matrix = torch.eye(dim, dtype=out.weight.dtype) if project is None else project.weight
        self.own = matrix.expand(2, -1, -1)
        self.weight = matrix @ out.weight
        bias = out.bias @ matrix.T
        self.bias = bias if project is None else bias + project.bias


class FoldedOneKey(nn.Module):
    """`OneKey` and the projection behind it: A_m a^m + B_m a^o + constant_m."""

    own: Tensor
    other: Tensor
    bias: Tensor

    def __init__(self, fusion: 'OneKey | PixelCrossAttention', project: nn.Linear | None) -> None:
        super().__init__()
        out = _Output(fusion.out, project)
        both = out.weight @ fusion.value.weight
        constant: Tensor = fusion.value.bias
        if isinstance(fusion, OneKey):
            constant = constant + pair_linear(fusion.value_noise[:, None, None],
                                              fusion.value.weight)[:, 0, 0]
        self.register_buffer('own', out.own + both)
        self.register_buffer('other', both)
        self.register_buffer('bias', out.bias + _times(out.weight, constant))

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` projected, fused tokens of intra-modal tokens a."""
        return pair_linear(a, self.own, self.bias) + pair_linear(a.flip(0), self.other)


class FoldedTwoKeys(nn.Module):
    """`TwoKeys` and the projection behind it."""

    def __init__(self, fusion: TwoKeys, project: nn.Linear | None) -> None:
        super().__init__()
        self.similarity = _FoldedSimilarity(fusion.similarity1, fusion.similarity2)
        self.attention = _FoldedAttention(fusion.qkv, fusion.key_noise, fusion.value_noise,
                                          fusion.out, project)

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` projected, fused tokens of intra-modal tokens a."""
        core, other = self.attention, a.flip(0)
        q, key, value = core.project(a)
        # A softmax over two is a sigmoid of the difference.
        p = core.sum_heads(q * (key - core.key(a * self.similarity(a, other)))).sigmoid()
        gathered = (core.spread_heads(p) * (value + core.value_noise)
                    + core.spread_heads(1 - p) * core.value(other))
        return core.output(a, gathered)


class FoldedDsim(nn.Module):
    """`Dsim` and the projection behind it."""

    difference1: Tensor
    difference1_bias: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, fusion: Dsim, project: nn.Linear | None) -> None:
        super().__init__()
        # One difference serves both directions: the sign of the second goes into its weights.
        colour, x = fusion.difference1.weight
        self.register_buffer('difference1', torch.stack((colour, -x)))
        self.register_buffer('difference1_bias', fusion.difference1.bias.detach())
        self.difference2 = fusion.difference2
        self.similarity = _FoldedSimilarity(fusion.similarity1, fusion.similarity2)
        self.attention = _FoldedAttention(fusion.qkv, fusion.key_noise, fusion.value_noise,
                                          fusion.out, project)
        # They scale keys, so they scale scores: 8 numbers a pixel instead of C.
        self.register_buffer('alpha', fusion.alpha.detach()[:, None, None, None])
        self.register_buffer('beta', fusion.beta.detach()[:, None, None, None])

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` projected, fused tokens of intra-modal tokens a."""
        core, other = self.attention, a.flip(0)
        d = self.difference(a).softmax(-1)                                           # Eq. 4
        s = self.similarity(a, other)                                                # Eq. 4
        q, key, value = core.project(a)
        s1 = core.sum_heads(q * key)                                                 # Eq. 5, 7
        s2 = self.alpha * core.sum_heads(q * core.key(a * d))
        s3 = self.beta * core.sum_heads(q * core.key(a * s))
        top = torch.maximum(s1, torch.maximum(s2, s3))
        e1, e2, e3 = (s1 - top).exp(), (s2 - top).exp(), (s3 - top).exp()
        whole = 1 / (e1 + e2 + e3)
        gathered = (core.spread_heads((e1 + e2) * whole) * value                     # Eq. 6-8
                    + core.spread_heads((e3 - e2) * whole) * core.value(other)
                    + core.spread_heads(e1 * whole) * core.value_noise)
        return core.output(a, gathered)

    def difference(self, a: Tensor) -> Tensor:
        """Return f_d of eq. (4), D before its softmax: `(2, B, N, C)`."""
        apart = (a[:1] - a[1:]).expand_as(a)
        hidden = F.gelu(pair_linear(apart, self.difference1, self.difference1_bias))
        f: Tensor = self.difference2(hidden)
        return f


class _FoldedSimilarity(nn.Module):
    """S of eq. (4); both halves of the first layer apart, so that nothing is cut or joined."""

    own: Tensor
    other: Tensor
    bias: Tensor

    def __init__(self, first: nn.Linear, second: nn.Linear) -> None:
        super().__init__()
        for name, half in zip(('own', 'other'), first.weight.chunk(2, dim=1), strict=True):
            self.register_buffer(name, half.contiguous())
        self.register_buffer('bias', first.bias.detach())
        self.second = second

    def forward(self, a: Tensor, other: Tensor) -> Tensor:
        """Return S `(2, B, N, C)` of tokens a and the other modality's."""
        return self.before_softmax(a, other).softmax(-1)

    def before_softmax(self, a: Tensor, other: Tensor) -> Tensor:
        """Return f_s of eq. (4): `(2, B, N, C)`."""
        hidden = F.gelu(F.linear(a, self.own, self.bias) + F.linear(other, self.other))
        f: Tensor = self.second(hidden)
        return f


class _FoldedAttention(nn.Module):
    """What an attention over a pixel's keys has left after folding.

    Each product stands alone and heads are summed and spread by products with zeros and ones: on a
    CPU, cutting a wide product up and adding groups of 4 channels cost more than they save.
    """

    w_q: Tensor
    b_q: Tensor
    w_k: Tensor
    key_noise: Tensor
    w_v: Tensor
    value_noise: Tensor
    own: Tensor
    gathered: Tensor
    bias: Tensor
    heads: Tensor

    def __init__(self, qkv: PairLinear, key_noise: Tensor, value_noise: Tensor, out: PairLinear,
                 project: nn.Linear | None) -> None:
        super().__init__()
        w_q, w_k, w_v = qkv.weight.chunk(3, dim=1)
        b_q, _, b_v = qkv.bias.chunk(3, dim=1)
        dim = w_q.shape[1]
        scale = (dim // HEADS) ** -0.5
        after = _Output(out, project)
        tensors = {
            'w_q': w_q * scale, 'b_q': b_q * scale,
            'w_k': w_k, 'key_noise': _times(w_k, key_noise),
            'w_v': w_v, 'value_noise': _times(w_v, value_noise)[:, None, None],
            'own': after.own, 'gathered': after.weight,
            'bias': after.bias + _times(after.weight, b_v),
            'heads': torch.eye(HEADS, dtype=w_q.dtype).repeat_interleave(dim // HEADS, dim=0),
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.contiguous())

    def project(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scaled query, the first key and the own value, `(2, B, N, C)` each."""
        return (pair_linear(a, self.w_q, self.b_q), pair_linear(a, self.w_k, self.key_noise),
                self.value(a))

    def key(self, tokens: Tensor) -> Tensor:
        """Return W_K of tokens, without its bias."""
        return pair_linear(tokens, self.w_k)

    def value(self, tokens: Tensor) -> Tensor:
        """Return W_V of tokens, without its bias."""
        return pair_linear(tokens, self.w_v)

    def sum_heads(self, x: Tensor) -> Tensor:
        """Return `(2, B, N, HEADS)` sums over the channels of each head of x `(2, B, N, C)`."""
        return x @ self.heads

    def spread_heads(self, p: Tensor) -> Tensor:
        """Return p `(2, B, N, HEADS)` for every channel of its head: `(2, B, N, C)`."""
        return p @ self.heads.T

    def output(self, a: Tensor, gathered: Tensor) -> Tensor:
        """Return the projected sum of the tokens a and what they gathered."""
        return pair_linear(a, self.own, self.bias) + pair_linear(gathered, self.gathered)


class FoldedHead(nn.Module):
    """`MlpHead` and the ensemble: one 1x1 convolution per level, one classifier per stream.

    The classifier could run once, on the weighted mean of both streams' features. That is slower:
    a mean over 256 channels moves more memory than the second classifier costs, and the mean of K
    scores is nearly free.

    Args:
        head: The head, in eval mode.
        share: `(2,)` weights of the two streams in the ensemble; they sum to 1.
    """

    share: Tensor

    def __init__(self, head: MlpHead, share: Tensor) -> None:
        super().__init__()
        norm = head.norm
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        parts = head.fuse.weight.flatten(1).chunk(len(head.linears), dim=1)
        bias = norm.bias - scale * norm.running_mean
        self.levels = nn.ModuleList()
        for linear, part in zip(head.linears, reversed(parts), strict=True):
            assert isinstance(linear, nn.Linear)
            level = nn.Conv2d(linear.in_features, len(scale), 1, dtype=scale.dtype,
                              bias=not self.levels)  # all biases in the first
            level.weight.copy_((scale[:, None] * (part @ linear.weight))[..., None, None])
            bias = bias + scale * (part @ linear.bias)
            self.levels.append(level)
        first = self.levels[0].bias
        assert isinstance(first, Tensor)
        first.copy_(bias)
        self.register_buffer('share', share.detach().reshape(2, 1, 1, 1, 1).clone())
        self.classify = head.classify

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return `(B, K, h, w)` ensemble scores of maps `(2B, C, h, w)`, finest first."""
        fused = self.levels[0](features[0])
        for convolution, level in zip(self.levels[1:], features[1:], strict=True):
            fused = fused + F.interpolate(convolution(level), fused.shape[2:], mode='bilinear',
                                          align_corners=False)
        scores = self.classify(F.relu(fused)).unflatten(0, (2, -1))
        out: Tensor = (self.share * scores).sum(0)
        return out


def _times(weight: Tensor, vector: Tensor) -> Tensor:
    """Return `weight[m] @ vector[m]` for both modalities: `(2, O)`."""
    return (weight @ vector[..., None])[..., 0]
