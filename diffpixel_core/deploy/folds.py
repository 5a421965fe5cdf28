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
 * In the head, the linear layer of a level, its share of the fusing convolution and the batch norm
   are one linear layer, at the level's own resolution; and the classifier, which is linear, runs
   once, on the mean of the two streams' features that the ensemble's weights give.

What has no fold of its own here runs as it was trained.
"""

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.models.ablations import PixelCrossAttention
from diffpixel_core.models.diffpixelformer import (
    HEADS,
    DiffPixelFormer,
    Dsim,
    difference,
    similarity,
    spread_heads,
    sum_heads,
)
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
                    block.fusion, block.project = folded, nn.Identity()
            elif isinstance(block, SwinBlock):
                block.fusion = _folded_fusion(block.fusion, None) or block.fusion
        self.head = FoldedHead(model.head, model.alpha.softmax(0))
        self.requires_grad_(False)

    def forward(self, rgb: Tensor, x: Tensor) -> Tensor:
        """Return `(B, K, H/4, W/4)` class scores of two normalised `(B, 3, H, W)` images."""
        scores: Tensor = self.head(self.encoder(rgb, x))
        return scores


def _folded_fusion(fusion: nn.Module, project: nn.Module | None) -> nn.Module | None:
    """Return one module for a fusion and the projection behind it, or None: there is no fold."""
    if type(fusion) not in _FOLDS:
        return None
    return _FOLDS[type(fusion)](fusion, cast(nn.Linear | None, project))


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
        self.bias = out.bias @ matrix.T
        if project is not None:
            self.bias = self.bias + project.bias


class FoldedOneKey(nn.Module):
    """`OneKey` and the projection behind it: A_m a^m + B_m a^o + constant_m."""

    own: Tensor
    other: Tensor
    bias: Tensor

    def __init__(self, fusion: 'OneKey | PixelCrossAttention', project: nn.Linear | None) -> None:
        super().__init__()
        out = _Output(fusion.out, project)
        both = out.weight @ fusion.value.weight
        constant = fusion.value.bias
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
        self.similarity1 = fusion.similarity1
        self.similarity2 = fusion.similarity2
        self.attention = _FoldedAttention(fusion.qkv, fusion.key_noise, fusion.value_noise,
                                          fusion.out, project)

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` projected, fused tokens of intra-modal tokens a."""
        core = self.attention
        s = similarity(a, self.similarity1, self.similarity2).softmax(-1)
        q, key, value = core.project(a)
        p = sum_heads(q * (key - core.key(a * s))).sigmoid()
        gathered = (spread_heads(p, a) * (value + core.value_noise)
                    + spread_heads(1 - p, a) * core.other_value(a))
        return core.output(a, gathered)


class FoldedDsim(nn.Module):
    """`Dsim` and the projection behind it."""

    alpha: Tensor
    beta: Tensor

    def __init__(self, fusion: Dsim, project: nn.Linear | None) -> None:
        super().__init__()
        self.difference1 = fusion.difference1
        self.difference2 = fusion.difference2
        self.similarity1 = fusion.similarity1
        self.similarity2 = fusion.similarity2
        self.attention = _FoldedAttention(fusion.qkv, fusion.key_noise, fusion.value_noise,
                                          fusion.out, project)
        # They scale keys, so they scale scores: 8 numbers a pixel instead of C.
        self.register_buffer('alpha', fusion.alpha.detach()[:, None, None, None].clone())
        self.register_buffer('beta', fusion.beta.detach()[:, None, None, None].clone())

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` projected, fused tokens of intra-modal tokens a."""
        core = self.attention
        d = difference(a, self.difference1, self.difference2)                        # Eq. 4
        s = similarity(a, self.similarity1, self.similarity2).softmax(-1)            # Eq. 4
        q, key, value = core.project(a)
        scores = torch.stack((sum_heads(q * key),                                    # Eq. 5, 7
                              self.alpha * sum_heads(q * core.key(a * d)),
                              self.beta * sum_heads(q * core.key(a * s))))
        p1, p2, p3 = scores.softmax(0).unbind(0)
        gathered = (spread_heads(1 - p3, a) * value                                  # Eq. 6-8
                    + spread_heads(p3 - p2, a) * core.other_value(a)
                    + spread_heads(p1, a) * core.value_noise)
        return core.output(a, gathered)


class _FoldedAttention(nn.Module):
    """What an attention over a pixel's keys has left after folding."""

    wide: Tensor
    wide_bias: Tensor
    w_k: Tensor
    w_v: Tensor
    value_noise: Tensor
    own: Tensor
    gathered: Tensor
    bias: Tensor

    def __init__(self, qkv: PairLinear, key_noise: Tensor, value_noise: Tensor, out: PairLinear,
                 project: nn.Linear | None) -> None:
        super().__init__()
        w_q, w_k, w_v = qkv.weight.chunk(3, dim=1)
        b_q, _, b_v = qkv.bias.chunk(3, dim=1)
        scale = (w_q.shape[1] // HEADS) ** -0.5
        after = _Output(out, project)
        self.register_buffer('wide', torch.cat((w_q * scale, w_k, w_v), dim=1))
        # q has its bias; the first key's holds the noise, W_K n_K; the value's is in the output.
        self.register_buffer('wide_bias', torch.cat(
            (b_q * scale, _times(w_k, key_noise), torch.zeros_like(b_v)), dim=1))
        self.register_buffer('w_k', w_k.contiguous())
        self.register_buffer('w_v', w_v.contiguous())
        self.register_buffer('value_noise', _times(w_v, value_noise)[:, None, None])
        self.register_buffer('own', after.own.contiguous())
        self.register_buffer('gathered', after.weight)
        self.register_buffer('bias', after.bias + _times(after.weight, b_v))

    def project(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scaled query, the first key and the own value, `(2, B, N, C)` each."""
        q, key, value = pair_linear(a, self.wide, self.wide_bias).chunk(3, dim=-1)
        return q, key, value

    def key(self, tokens: Tensor) -> Tensor:
        """Return W_K of tokens, without its bias."""
        return pair_linear(tokens, self.w_k)

    def other_value(self, a: Tensor) -> Tensor:
        """Return W_V of the other modality's tokens, without its bias."""
        return pair_linear(a.flip(0), self.w_v)

    def output(self, a: Tensor, gathered: Tensor) -> Tensor:
        """Return the projected sum of the tokens a and what they gathered."""
        return pair_linear(a, self.own, self.bias) + pair_linear(gathered, self.gathered)


class FoldedHead(nn.Module):
    """`MlpHead` and the ensemble: a linear layer per level, one classifier for both streams.

    Args:
        head: The head, in eval mode.
        share: `(2,)` weights of the two streams in the ensemble; they sum to 1.
    """

    bias: Tensor
    share: Tensor

    def __init__(self, head: MlpHead, share: Tensor) -> None:
        super().__init__()
        norm = head.norm
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        parts = head.fuse.weight.flatten(1).chunk(len(head.linears), dim=1)
        self.levels = nn.ModuleList()
        bias = norm.bias - scale * norm.running_mean
        for linear, part in zip(head.linears, reversed(parts), strict=True):
            assert isinstance(linear, nn.Linear)
            level = nn.Linear(linear.in_features, len(scale), bias=False, dtype=scale.dtype)
            level.weight.copy_(scale[:, None] * (part @ linear.weight))
            bias = bias + scale * (part @ linear.bias)
            self.levels.append(level)
        self.register_buffer('bias', bias)
        self.register_buffer('share', share.detach().reshape(2, 1, 1, 1, 1).clone())
        self.classify = head.classify

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return `(B, K, h, w)` ensemble scores of maps `(2B, C, h, w)`, finest first."""
        size = features[0].shape[2:]
        fused = self.bias.view(1, -1, 1, 1)
        for linear, level in zip(self.levels, features, strict=True):
            level = linear(level.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            if level.shape[2:] != size:
                level = F.interpolate(level, size, mode='bilinear', align_corners=False)
            fused = fused + level
        streams = F.relu(fused).unflatten(0, (2, -1))
        out: Tensor = self.classify((self.share * streams).sum(0))
        return out


def _times(weight: Tensor, vector: Tensor) -> Tensor:
    """Return `weight[m] @ vector[m]` for both modalities: `(2, O)`."""
    return (weight @ vector[..., None])[..., 0]


_FOLDS = {OneKey: FoldedOneKey, PixelCrossAttention: FoldedOneKey, TwoKeys: FoldedTwoKeys,
          Dsim: FoldedDsim}
