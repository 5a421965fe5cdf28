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
 3. Eq. (7) prints the noise as a token of its own, without a third value in eq. (6) to go with it.
    The first key and value are the tokens plus noise: [n + a, ...].
 4. W_Q, W_K, W_V are one per direction, as f_d is; there is an output layer W_O, and 8 heads.
 5. S^R and S^D come from one f_s applied to [a^m, a^o] in either order; the paper has one S.
 6. On Swin the block norms are shared by the modalities, those of embedding and outputs their own.
 7. The logits inside the ensemble are detached, so that each stream learns from its own loss, and
    its two weights are trained.
 8. While training, the head's batch norm sees both streams in one batch (the published code keeps
    it frozen).
Items 3 to 6 are what the published code does.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.models.heads import MlpHead
from diffpixel_core.models.layers import Fusion, PairLinear, pair_linear
from diffpixel_core.models.mit import Mit
from diffpixel_core.models.swin import Swin

HEADS = 8     # of the fusion, in every stage and backbone
START = 0.02  # standard deviation of a fusion's output layer: small beside its residual, so that
              # weights of a backbone trained without fusion are disturbed little


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

    Deviations 1 to 5 above are its.

    Args:
        dim: Channels C, a multiple of 8.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.difference1, self.difference2 = PairLinear(dim, dim), PairLinear(dim, dim)  # f_d
        self.similarity1, self.similarity2 = nn.Linear(2 * dim, dim), nn.Linear(dim, dim)  # f_s
        self.qkv = PairLinear(dim, 3 * dim)
        self.out = PairLinear(dim, dim, std=START)
        self.key_noise = nn.Parameter(torch.randn(2, dim))
        self.value_noise = nn.Parameter(torch.randn(2, dim))
        self.alpha = nn.Parameter(torch.ones(2))
        self.beta = nn.Parameter(torch.ones(2))

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` fused tokens y of intra-modal tokens a; pixel by pixel."""
        d = difference(a, self.difference1, self.difference2)                        # Eq. 4
        s = similarity(a, self.similarity1, self.similarity2).softmax(-1)            # Eq. 4
        keys = modulate(a, d, s, self.alpha, self.beta)                              # Eq. 5, 7
        attended = attend(a, a, keys, self.qkv, self.key_noise, self.value_noise)    # Eq. 6-8
        y: Tensor = a + self.out(attended)                                           # Eq. 8
        return y


def difference(a: Tensor, first: PairLinear, second: PairLinear) -> Tensor:
    """Return D `(2, B, N, C)` of eq. (4): softmax over channels of f_d(a^m - a^o).

    Args:
        a: `(2, B, N, C)` intra-modal tokens.
        first: First layer of f_d, one per direction.
        second: Second layer of f_d.
    """
    d: Tensor = second(F.gelu(first(a - a.flip(0))))
    return d.softmax(-1)


def similarity(a: Tensor, first: nn.Linear, second: nn.Linear) -> Tensor:
    """Return f_s([a^m, a^o]) `(2, B, N, C)` of eq. (4), before its softmax.

    Both halves of the first layer are one product over a; nothing is concatenated per token.

    Args:
        a: `(2, B, N, C)` intra-modal tokens.
        first: First layer of f_s, 2C channels in; shared by the directions.
        second: Second layer of f_s.
    """
    halves = torch.cat(first.weight.chunk(2, dim=1))
    own, others = F.linear(a, halves).chunk(2, dim=-1)
    s: Tensor = second(F.gelu(own + others.flip(0) + first.bias))
    return s


def modulate(a: Tensor, d: Tensor, s: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """Return the second and third key, alpha a D and beta a S, of eq. (5) and (7).

    Args:
        a: `(2, B, N, C)` intra-modal tokens.
        d: D, broadcast to `a`.
        s: S, broadcast to `a`.
        alpha: `(2,)` factors of the difference.
        beta: `(2,)` factors of the similarity.
    """
    return alpha[:, None, None, None] * a * d, beta[:, None, None, None] * a * s


def attend(query: Tensor, own: Tensor, keys: tuple[Tensor, Tensor], qkv: PairLinear,
           key_noise: Tensor, value_noise: Tensor) -> Tensor:
    """Return each pixel's attention over its three keys, eq. (6)-(8), before W_O: `(2, B, N, C)`.

    K = [n_K + own, *keys] and V = [n_V + own, own - other, other], with other = own.flip(0).

    Args:
        query: `(2, B, N, C)` tokens that ask.
        own: `(2, B, N, C)` tokens that are asked.
        keys: Second and third key, `(2, B, N, C)` each.
        qkv: W_q, W_k, W_v, stacked.
        key_noise: n_K, `(2, C)`.
        value_noise: n_V, `(2, C)`.
    """
    # K = [n_K + own, *keys] W_K, V = [n_V + own, own - other, other] W_V             # Eq. 6, 7
    dim = own.shape[-1]
    w_q, w_own = qkv.weight.split((dim, 2 * dim), dim=1)
    b_q, b_own = qkv.bias.split((dim, 2 * dim), dim=1)
    w_k, w_v = w_own.chunk(2, dim=1)
    b_k, b_v = b_own.chunk(2, dim=1)
    q = pair_linear(query, w_q, b_q)
    key, value = pair_linear(own, w_own, b_own).chunk(2, dim=-1)
    noise_k = pair_linear(key_noise[:, None, None], w_k)                             # Eq. 7
    noise_v = pair_linear(value_noise[:, None, None], w_v)                           # Eq. 7
    scale = (dim // HEADS) ** -0.5
    projected = (key + noise_k, *(pair_linear(k, w_k, b_k) for k in keys))
    p1, p2, p3 = torch.stack([sum_heads(q * k) * scale for k in projected]).softmax(0)
    # Values are W_v [n + own, own - other, other] + b_v (eq. 6, 7) and p1 + p2 + p3 = 1, so the
    # weighted sum needs W_v own and W_v other only.
    attended: Tensor = (spread_heads(1 - p3, own) * value
                        + spread_heads(p3 - p2, own) * pair_linear(own.flip(0), w_v)
                        + spread_heads(p1, own) * noise_v
                        + spread_heads(p3, own) * b_v[:, None, None])
    return attended


def sum_heads(x: Tensor) -> Tensor:
    """Return `(..., HEADS)` sums over the channels of each head of x `(..., C)`."""
    return x.reshape(*x.shape[:-1], HEADS, -1).sum(-1)


def spread_heads(p: Tensor, like: Tensor) -> Tensor:
    """Return p `(..., HEADS)` repeated for every channel of its head: `(..., C)`."""
    return p.repeat_interleave(like.shape[-1] // HEADS, dim=-1)


class NoFusion(nn.Module):
    """The streams ignore each other: row "baseline" of Tables II and III."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        del dim

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the tokens as they are."""
        return a


class DiffPixelFormer(nn.Module):
    """Two streams through one encoder and one head, and their learned ensemble.

    Args:
        backbone: The encoder's numbers.
        classes: Number of classes K.
        fusion: Makes the inter-modal module of each block.
        drop_path: Rate of the last block while training.
    """

    def __init__(self, backbone: Mit | Swin, classes: int, fusion: Fusion = Dsim, *,
                 drop_path: float = 0.0) -> None:
        super().__init__()
        self.backbone, self.fusion = backbone, fusion
        self.encoder = backbone.encoder(fusion, drop_path)
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
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        # Standard deviation by the outputs each input reaches; a depthwise input reaches few.
        fan_out = module.weight.shape[0] * module.weight[0, 0].numel() // module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
