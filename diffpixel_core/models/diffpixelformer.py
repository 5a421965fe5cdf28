# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""DiffPixelFormer: differential pixel-aware fusion of colour and depth (arXiv 2511.13047).

Notation of the paper, m in {R (colour), D (depth)} and o the other one:
    x^m  tokens of a stage            a^m  tokens after intra-modal attention, eq. (3)
    D^m  what only m shows, eq. (4)   S^m  what both show, eq. (4)
A pair of modalities is one tensor `(2, B, N, C)`; `.flip(0)` turns m into o.

Deviations from the paper, all of them:
 1. Keys and values of m come from m itself. Eq. (8) prints the other modality's; read so, colour
    would attend to itself as its own complement, and the noise tokens, introduced because "Q and K
    come from the same modality", would have no reason. The literal form belongs to the ablations.
 2. Eq. (5) prints the query where the text says keys; the tokens themselves are modulated.
 3. The logits inside the ensemble are detached, so that each stream learns from its own loss, and
    its two weights are trained.
 4. While training, the head's batch norm sees both streams in one batch (the published code keeps
    it frozen).
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.models.heads import MlpHead
from diffpixel_core.models.layers import PairLinear, pair_linear
from diffpixel_core.models.mit import MITS, Fusion, MitEncoder

HEADS = 8  # of the fusion, in every stage and backbone


class Output(NamedTuple):
    """Class scores of a two-stream network, at a quarter of the input's size.

    Attributes:
        ensemble: `(B, K, H/4, W/4)`, the prediction.
        aux: Scores of the colour stream and of the other stream, same shape.
    """

    ensemble: Tensor
    aux: tuple[Tensor, Tensor]


class Dsim(nn.Module):
    """Differential-shared inter-modal module, eq. (4)-(8): attention over one pixel's three keys.

    Args:
        dim: Channels C, a multiple of 8.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.difference1, self.difference2 = PairLinear(dim, dim), PairLinear(dim, dim)  # f_d
        self.similarity1, self.similarity2 = nn.Linear(2 * dim, dim), nn.Linear(dim, dim)  # f_s
        self.qkv = PairLinear(dim, 3 * dim)
        self.out = PairLinear(dim, dim)
        self.key_noise = nn.Parameter(torch.randn(2, dim))
        self.value_noise = nn.Parameter(torch.randn(2, dim))
        self.alpha = nn.Parameter(torch.ones(2))
        self.beta = nn.Parameter(torch.ones(2))

    def forward(self, a: Tensor) -> Tensor:
        """Return `(2, B, N, C)` fused tokens y of intra-modal tokens a `(2, B, N, C)`."""
        other = a.flip(0)
        d = self.difference2(F.gelu(self.difference1(a - other))).softmax(-1)        # Eq. 4
        # f_s([a^m, a^o]): both halves of its first layer in one product, no concatenation.
        halves = torch.cat(self.similarity1.weight.chunk(2, dim=1))
        own, others = F.linear(a, halves).chunk(2, dim=-1)
        hidden = F.gelu(own + others.flip(0) + self.similarity1.bias)
        s = self.similarity2(hidden).softmax(-1)                                     # Eq. 4

        _, w_k, w_v = self.qkv.weight.chunk(3, dim=1)
        _, b_k, b_v = self.qkv.bias.chunk(3, dim=1)
        q, key, value = self.qkv(a).chunk(3, dim=-1)
        noise_k = pair_linear(self.key_noise[:, None, None], w_k)                    # Eq. 7
        noise_v = pair_linear(self.value_noise[:, None, None], w_v)                  # Eq. 7
        keys = (
            key + noise_k,
            pair_linear(self.alpha[:, None, None, None] * a * d, w_k, b_k),          # Eq. 5, 7
            pair_linear(self.beta[:, None, None, None] * a * s, w_k, b_k),           # Eq. 5, 7
        )
        scale = (a.shape[-1] // HEADS) ** -0.5
        p1, p2, p3 = torch.stack([_sum_heads(q * k) * scale for k in keys]).softmax(0)
        # Values are W_v [n + a, a - o, o] + b_v (eq. 6, 7) and p1 + p2 + p3 = 1, so the weighted
        # sum needs W_v a and W_v o only.
        attended = (_spread_heads(1 - p3, a) * value + _spread_heads(p3 - p2, a)
                    * pair_linear(other, w_v) + _spread_heads(p1, a) * noise_v
                    + _spread_heads(p3, a) * b_v[:, None, None])
        y: Tensor = a + self.out(attended)                                           # Eq. 8
        return y


def _sum_heads(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:-1], HEADS, -1).sum(-1)


def _spread_heads(p: Tensor, like: Tensor) -> Tensor:
    return p.repeat_interleave(like.shape[-1] // HEADS, dim=-1)


class NoFusion(nn.Module):
    """The streams ignore each other: row "baseline" of Tables II and III."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        del dim

    def forward(self, a: Tensor) -> Tensor:
        """Return the tokens as they are."""
        return a


class DiffPixelFormer(nn.Module):
    """Two streams through one encoder and one head, and their learned ensemble.

    Args:
        backbone: Key of `mit.MITS`.
        classes: Number of classes K.
        fusion: Makes the inter-modal module of each block.
        drop_path: Rate of the last block while training.
    """

    def __init__(self, backbone: str, classes: int, fusion: Fusion = Dsim, *,
                 drop_path: float = 0.0) -> None:
        super().__init__()
        self.encoder = MitEncoder(MITS[backbone], fusion, drop_path)
        self.head = MlpHead(self.encoder.dims, classes)
        self.alpha = nn.Parameter(torch.ones(2))
        self.apply(_initialise)
        nn.init.normal_(self.head.classify.weight, std=0.01)  # starts undecided: loss ln K

    def forward(self, rgb: Tensor, x: Tensor) -> Output:
        """Return class scores at a quarter of the input's size.

        Args:
            rgb: `(B, 3, H, W)` normalised colour.
            x: `(B, 3, H, W)` normalised second modality.
        """
        scores = self.head(self.encoder(rgb, x))
        colour, other = scores.chunk(2)
        share = self.alpha.softmax(0)
        ensemble = share[0] * colour.detach() + share[1] * other.detach()
        return Output(ensemble, (colour, other))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        # Standard deviation by the outputs each input reaches; a depthwise input reaches few.
        fan_out = module.weight.shape[0] * module.weight[0, 0].numel() // module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def from_released(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of ours made of a published one (MiT backbones).

    Tensors of `state` that `wanted` has no place for are left out; the caller decides whether
    that is right. `scale_factor_*` was never trained in published files: alpha and beta become 1.

    Args:
        state: The published state dict, without the "module." prefix.
        wanted: Our model's state dict: the keys to fill.

    Raises:
        KeyError: If a tensor that `wanted` needs is missing in `state`.

    Source: names of github.com/gongyan1/DiffPixelFormer at 7f7735f.
    """
    return {key: (torch.ones_like(wanted[key]) if key.endswith(('fusion.alpha', 'fusion.beta'))
                  else _released(state, key)) for key in wanted}


_DIRECTIONS = ('0_to_1', '1_to_0')  # updates colour, updates depth
_SHARED = {
    'attention.query': 'attn.q.module', 'attention.key_value': 'attn.kv.module',
    'attention.reduce': 'attn.sr.module', 'project': 'attn.proj.module',
    'feed_forward.fc1': 'mlp.fc1.module', 'feed_forward.fc2': 'mlp.fc2.module',
    'feed_forward.depthwise': 'mlp.dwconv.dwconv',
    'fusion.similarity1': 'attn.relation_judger.0.fc1',
    'fusion.similarity2': 'attn.relation_judger.0.fc2',
}
_OWN = {'norm1': 'norm1.ln_{}', 'norm2': 'norm2.ln_{}', 'attention.reduce_norm': 'attn.norm.ln_{}'}
_PER_DIRECTION = {
    'fusion.difference1': 'attn.diff_{}.fc1.{}', 'fusion.difference2': 'attn.diff_{}.fc2.{}',
    'fusion.qkv': 'attn.cross_attn_{}.in_proj_{}', 'fusion.out': 'attn.cross_attn_{}.out_proj.{}',
}
_NOISE = {'fusion.key_noise': 'attn.k_noise.weight', 'fusion.value_noise': 'attn.v_noise.weight'}
_HEAD = {'fuse': 'linear_fuse.conv', 'norm': 'linear_fuse.bn', 'classify': 'linear_pred'}


def _released(state: Mapping[str, Tensor], key: str) -> Tensor:
    """Return the tensor of a published state dict that belongs under our `key`."""
    if key == 'alpha':
        return state['alpha']
    name, last = key.rpartition('.')[::2]
    parts = name.split('.')
    if parts[0] == 'head':
        level = f'linear_c{int(parts[2]) + 1}.proj' if parts[1] == 'linears' else _HEAD[parts[1]]
        return state[f'decoder.{level}.{last}']
    stage = int(parts[2]) + 1
    if parts[3] != 'blocks':
        if name.endswith('embed.conv'):
            return state[f'encoder.patch_embed{stage}.proj.module.{last}']
        prefix = f'patch_embed{stage}.norm' if parts[3] == 'embed' else f'norm{stage}'
        return torch.stack([state[f'encoder.{prefix}.ln_{m}.{last}'] for m in (0, 1)])
    block = f'encoder.block{stage}.{parts[4]}.'
    inner = '.'.join(parts[5:])
    if f'{inner}.{last}' in _NOISE:
        return state[block + _NOISE[f'{inner}.{last}']]
    if inner in _SHARED:
        return state[f'{block}{_SHARED[inner]}.{last}']
    names = ([_OWN[inner].format(m) + f'.{last}' for m in (0, 1)] if inner in _OWN
             else [_PER_DIRECTION[inner].format(d, last) for d in _DIRECTIONS])
    return torch.stack([state[block + released] for released in names])
