# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The baseline `published`: what the published code computes on MiT, operation by operation.

Written plainly, as one would first draw it, to be measured against; nothing else uses it:
 * one stream after the other, each with its own call of every shared layer;
 * attention materialised: all scores in memory, softmax, product;
 * the fusion with its dead branch computed: the softmax over a pixel's single key is 1, so judger,
   difference layers, key noise, factors, queries and keys never reach the output;
 * the head as drawn: every level enlarged, then 1024 channels concatenated and fused.

Its parameters carry the published names, so a published checkpoint loads as it is. How the single
key is made up has no influence and is not recorded: it is taken as the sum of the three of eq. (5)
and (7), as the value is known to be the sum of two.

Source: the published names, shapes, costs and outputs of github.com/gongyan1/DiffPixelFormer at
7f7735f (see `models.released`); SegFormer, Xie et al., NeurIPS 2021; arXiv 2511.13047, eq. (2)-(8).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.models import Output, find_variant
from diffpixel_core.models.cost import HEAD_CHANNELS
from diffpixel_core.models.diffpixelformer import HEADS
from diffpixel_core.models.mit import Mit

Pair = list[Tensor]
"""Colour's and the other modality's tensor."""


class BaselineError(DiffPixelError):
    """A network whose published form is not written here."""


class Published(nn.Module):
    """The published network on a MiT backbone, default branch, in eval mode.

    Args:
        backbone: Numbers of the encoder.
        classes: Number of classes K.
    """

    def __init__(self, backbone: Mit, classes: int) -> None:
        super().__init__()
        self.encoder = _Encoder(backbone)
        self.decoder = _Decoder(backbone.dims, classes)
        self.alpha = nn.Parameter(torch.ones(2))

    def forward(self, rgb: Tensor, x: Tensor) -> Output:
        """Return class scores at a quarter of the input's size.

        Args:
            rgb: `(B, 3, H, W)` normalised colour.
            x: `(B, 3, H, W)` normalised second modality.
        """
        colour, other = (self.decoder(maps) for maps in self.encoder([rgb, x]))
        ensemble = torch.zeros((), dtype=rgb.dtype, device=rgb.device)
        for share, scores in zip(self.alpha.softmax(0), (colour, other), strict=True):
            ensemble = ensemble + share * scores.detach()
        return Output(ensemble, (colour, other))


class _Shared(nn.Module):
    """One layer for both streams, called for each in turn."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pair: Pair) -> Pair:
        return [self.module(x) for x in pair]


class _OwnNorms(nn.Module):
    """A layer norm for each stream."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ln_0 = nn.LayerNorm(dim, eps=1e-6)
        self.ln_1 = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, pair: Pair) -> Pair:
        return [self.ln_0(pair[0]), self.ln_1(pair[1])]


class _Mlp(nn.Module):
    """Linear, GELU, linear: the discriminators f_d and f_s of eq. (4)."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, out), nn.Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _Attention(nn.Module):
    """Intra-modal attention, then the fusion, then the projection."""

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.q = _Shared(nn.Linear(dim, dim))
        self.kv = _Shared(nn.Linear(dim, 2 * dim))
        self.proj = _Shared(nn.Linear(dim, dim))
        self.sr = _Shared(nn.Conv2d(dim, dim, reduction, reduction)) if reduction > 1 else None
        self.norm = _OwnNorms(dim) if reduction > 1 else None
        self.relation_judger = nn.ModuleList([_Mlp(2 * dim, dim)])
        self.diff_0_to_1, self.diff_1_to_0 = _Mlp(dim, dim), _Mlp(dim, dim)
        self.k_noise, self.v_noise = nn.Embedding(2, dim), nn.Embedding(2, dim)
        self.scale_factor_0_to_1 = nn.Parameter(torch.ones(2))
        self.scale_factor_1_to_0 = nn.Parameter(torch.ones(2))
        self.cross_attn_0_to_1 = nn.MultiheadAttention(dim, HEADS)
        self.cross_attn_1_to_0 = nn.MultiheadAttention(dim, HEADS)

    def forward(self, pair: Pair, size: tuple[int, int]) -> Pair:
        context = pair
        if self.sr is not None and self.norm is not None:
            maps = self.sr([_maps(x, size) for x in pair])
            context = self.norm([_tokens(x) for x in maps])
        attended = [self._attend(q, kv) for q, kv in
                    zip(self.q(pair), self.kv(context), strict=True)]
        fused: Pair = self.proj(self._fuse(attended))
        return fused

    def _attend(self, q: Tensor, kv: Tensor) -> Tensor:
        """Return `(B, N, C)` of queries `(B, N, C)` and keys with values `(B, M, 2C)`."""
        q = q.unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = kv.unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = ((q @ k.transpose(2, 3)) * self.scale).softmax(-1)
        attended: Tensor = (weights @ v).transpose(1, 2).flatten(2)
        return attended

    def _fuse(self, a: Pair) -> Pair:
        """Return both streams fused; only W_V, W_O and the value's noise have a say."""
        # Tokens (B, N, C) enter as (length, batch, C): each image is a query and a key of its own,
        # and the mask leaves it its own key.
        others_keys = ~torch.eye(len(a[0]), dtype=torch.bool, device=a[0].device)
        judge = self.relation_judger[0]
        fused = []
        for m, differ, factors, attention in (
                (0, self.diff_0_to_1, self.scale_factor_0_to_1, self.cross_attn_0_to_1),
                (1, self.diff_1_to_0, self.scale_factor_1_to_0, self.cross_attn_1_to_0)):
            own, other = a[m], a[1 - m]
            difference = differ(own - other).softmax(-1)
            similarity = judge(torch.cat((own, other), dim=-1)).softmax(-1)
            key = (self.k_noise.weight[m] + own + factors[0] * own * difference
                   + factors[1] * own * similarity)
            value = self.v_noise.weight[m] + own + other
            fused.append(own + attention(own, key, value, attn_mask=others_keys)[0])
        return fused


class _Depthwise(nn.Module):
    """Depthwise 3x3 convolution of tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return _tokens(self.dwconv(_maps(x, size)))


class _FeedForward(nn.Module):
    """Linear, depthwise convolution, GELU, linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = _Shared(nn.Linear(dim, hidden)), _Shared(nn.Linear(hidden, dim))
        self.dwconv = _Depthwise(hidden)

    def forward(self, pair: Pair, size: tuple[int, int]) -> Pair:
        out: Pair = self.fc2([F.gelu(self.dwconv(x, size)) for x in self.fc1(pair)])
        return out


class _Block(nn.Module):
    """Attention with fusion, feed-forward network, each behind a norm and beside a residual."""

    def __init__(self, dim: int, heads: int, reduction: int, expansion: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _OwnNorms(dim), _OwnNorms(dim)
        self.attn = _Attention(dim, heads, reduction)
        self.mlp = _FeedForward(dim, expansion * dim)

    def forward(self, pair: Pair, size: tuple[int, int]) -> Pair:
        pair = _sum(pair, self.attn(self.norm1(pair), size))
        return _sum(pair, self.mlp(self.norm2(pair), size))


class _PatchEmbed(nn.Module):
    """Overlapping patches as normalised tokens."""

    def __init__(self, dim: int, out: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = _Shared(nn.Conv2d(dim, out, kernel, stride, padding=kernel // 2))
        self.norm = _OwnNorms(out)

    def forward(self, pair: Pair) -> tuple[Pair, tuple[int, int]]:
        pair = self.proj(pair)
        size = (pair[0].shape[2], pair[0].shape[3])
        return self.norm([_tokens(x) for x in pair]), size


class _Encoder(nn.ModuleDict):
    """`patch_embed`, `block` and `norm` 1 to 4."""

    def __init__(self, row: Mit) -> None:
        super().__init__()
        for s, dim in enumerate(row.dims):
            self[f'patch_embed{s + 1}'] = (
                _PatchEmbed(3, dim, kernel=7, stride=4) if s == 0
                else _PatchEmbed(row.dims[s - 1], dim, kernel=3, stride=2))
            self[f'block{s + 1}'] = nn.ModuleList(
                _Block(dim, row.heads[s], row.reductions[s], row.expansion)
                for _ in range(row.depths[s]))
            self[f'norm{s + 1}'] = _OwnNorms(dim)
        self._blocks = tuple(f'block{s + 1}' for s in range(len(row.dims)))

    def forward(self, pair: Pair) -> tuple[Pair, Pair]:
        """Return the four maps of either stream, finest first."""
        found: tuple[Pair, Pair] = ([], [])
        for s, name in enumerate(self._blocks, start=1):
            pair, size = self[f'patch_embed{s}'](pair)
            for block in self[name].children():
                pair = block(pair, size)
            pair = [_maps(x, size).contiguous() for x in self[f'norm{s}'](pair)]
            for stream, maps in zip(found, pair, strict=True):
                stream.append(maps)
        return found


class _Project(nn.Module):
    """One level's linear layer."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, HEAD_CHANNELS)

    def forward(self, maps: Tensor) -> Tensor:
        size = (maps.shape[2], maps.shape[3])
        return _maps(self.proj(_tokens(maps)), size)


class _Fuse(nn.Module):
    """1x1 convolution over all levels, batch norm, ReLU."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(levels * HEAD_CHANNELS, HEAD_CHANNELS, 1, bias=False)
        self.bn = nn.BatchNorm2d(HEAD_CHANNELS)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(maps)))


class _Decoder(nn.ModuleDict):
    """The head as drawn, for one stream."""

    def __init__(self, dims: Sequence[int], classes: int) -> None:
        super().__init__()
        self._names = [f'linear_c{level + 1}' for level in range(len(dims))]
        for name, dim in zip(self._names, dims, strict=True):
            self[name] = _Project(dim)
        self['linear_fuse'] = _Fuse(len(dims))
        self['linear_pred'] = nn.Conv2d(HEAD_CHANNELS, classes, 1)

    def forward(self, features: Pair) -> Tensor:
        """Return `(B, K, H/4, W/4)` scores of four maps, finest first."""
        size = features[0].shape[2:]
        levels = []
        for name, maps in zip(self._names, features, strict=True):
            level = self[name](maps)
            if maps.shape[2:] != size:
                level = F.interpolate(level, size, mode='bilinear', align_corners=False)
            levels.append(level)
        fused = self['linear_fuse'](torch.cat(levels[::-1], dim=1))
        scores: Tensor = self['linear_pred'](fused)
        return scores


def _maps(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Return `(B, N, C)` tokens as `(B, C, h, w)` maps."""
    maps: Tensor = tokens.transpose(1, 2).unflatten(2, size)
    return maps


def _tokens(maps: Tensor) -> Tensor:
    """Return `(B, C, h, w)` maps as `(B, N, C)` tokens."""
    return maps.flatten(2).transpose(1, 2)


def _sum(one: Pair, other: Pair) -> Pair:
    return [a + b for a, b in zip(one, other, strict=True)]


def published_network(model: str, classes: int) -> Published:
    """Return the baseline of a network of the registry, random weights, in eval mode.

    Every variant on a backbone has the same one: the published code on that backbone.

    Args:
        model: Key of `MODELS`.
        classes: Number of classes K.

    Raises:
        ModelError: If there is no such network.
        BaselineError: If its backbone is a Swin.
    """
    backbone = find_variant(model).backbone
    if not isinstance(backbone, Mit):
        raise BaselineError(f'{model}: the baseline `published` exists for MiT backbones only; '
                            'compare a Swin with `eager`')
    return Published(backbone, classes).eval()
