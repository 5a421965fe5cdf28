# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What each kernel computes, in plain PyTorch: the definition that the kernels are tested against.

Sums and softmaxes are in single precision, or in double for double inputs; only the result is
rounded to the precision of the inputs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_attention(query: Tensor, keys: tuple[Tensor, Tensor, Tensor], value: Tensor,
                    other_value: Tensor, value_noise: Tensor, alpha: Tensor, beta: Tensor, *,
                    heads: int) -> Tensor:
    """Return what each pixel gathers from its three keys: `(2, B, N, C)`, as the query's type.

    With p = softmax(q k1, alpha q k2, beta q k3) of each head, and the three values
    v + n_V, v - v_other and v_other, that is (1 - p3) v + (p3 - p2) v_other + p1 n_V.

    Args:
        query: q, `(2, B, N, C)`, already scaled.
        keys: k1, noise included, and the keys of difference and similarity before alpha and
            beta, `(2, B, N, C)` each.
        value: v, `(2, B, N, C)`.
        other_value: v_other, W_V of the other modality's tokens, `(2, B, N, C)`.
        value_noise: n_V after W_V, `(2, C)` or `(2, 1, 1, C)`.
        alpha: `(2,)` or `(2, 1, 1, 1)` factors of the second score.
        beta: Those of the third.
        heads: Number of heads; a divisor of C.

    Source: arXiv 2511.13047, eq. (5)-(8), with the deviations of `models/diffpixelformer.py`.
    """
    wide = _wide(query)
    q, k1, k2, k3, v, w, noise = (
        part.to(wide).unflatten(-1, (heads, -1))
        for part in (query, *keys, value, other_value, value_noise.reshape(2, 1, 1, -1)))
    scores = torch.stack(((q * k1).sum(-1),
                          alpha.to(wide).reshape(2, 1, 1, 1) * (q * k2).sum(-1),
                          beta.to(wide).reshape(2, 1, 1, 1) * (q * k3).sum(-1)))
    p1, p2, p3 = scores.softmax(0)[..., None].unbind(0)
    gathered: Tensor = (1 - p3) * v + (p3 - p2) * w + p1 * noise
    return gathered.flatten(-2).to(query.dtype)


def gates(a: Tensor, f: Tensor, s: Tensor) -> Tensor:
    """Return a D and a S of eq. (4) and (5), D and S softmaxes over channels: `(2, 2, B, N, C)`.

    The second axis holds difference, then similarity, so that `.flatten(1, 2)` can go through one
    product with W_K. As a's type.

    Args:
        a: `(2, B, N, C)` tokens.
        f: `(2, B, N, C)` differences f_d before their softmax.
        s: `(2, B, N, C)` similarities f_s before theirs.
    """
    wide = _wide(a)
    tokens = a.to(wide)
    gated = torch.stack([tokens * part.to(wide).softmax(-1) for part in (f, s)], dim=1)
    return gated.to(a.dtype)


def enlarge_argmax(scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return labels and confidence of class scores at the camera's size.

    Args:
        scores: `(K, h, w)` class scores, finite, K <= 255.
        size: `(H, W)` of the labels.

    Returns:
        `(H, W)` uint8 labels: the largest of the bilinearly enlarged scores, the lower class on
        a tie; `(H, W)` uint8 confidence: the largest softmax probability at the scores' own
        resolution, enlarged bilinearly, times 255, rounded.
    """
    scores = scores.to(_wide(scores))
    enlarged = F.interpolate(scores[None], size, mode='bilinear', align_corners=False)[0]
    labels = enlarged.argmax(0).to(torch.uint8)
    sure = scores.softmax(0).amax(0)
    sure = F.interpolate(sure[None, None], size, mode='bilinear', align_corners=False)[0, 0]
    return labels, (sure * 255).round().clamp(0, 255).to(torch.uint8)


def prepare_images(rgb: Tensor, x: Tensor, size: tuple[int, int], *, mean: Tensor, std: Tensor,
                   maximum: float, dtype: torch.dtype) -> Tensor:
    """Return both images of a frame as a network wants them: `(2, 3, h, w)`, colour first.

    Colour is resized bilinearly; of the other modality each new pixel takes the old one that holds
    its centre, for averaging a hole with a surface would invent a depth in mid-air.

    Args:
        rgb: `(H, W, 3)` uint8.
        x: `(H, W)` float32 in the modality's unit; 0, NaN, infinite, negative = missing.
        size: `(h, w)` to resize to.
        mean: `(2, 3)` float32 per image and channel.
        std: `(2, 3)` float32.
        maximum: Larger values of x are clipped to it.
        dtype: Of the result.
    """
    colour = rgb.permute(2, 0, 1)[None].float()
    # NaN fails both comparisons, so everything that was not measured becomes 0.
    other = torch.where((x > 0) & (x < torch.inf), x, 0.0)
    if tuple(x.shape) != size:
        colour = F.interpolate(colour, size, mode='bilinear', align_corners=False)
        for dim, (new, old) in enumerate(zip(size, x.shape, strict=True)):
            centres = (2 * torch.arange(new, device=x.device) + 1) * old // (2 * new)
            other = other.index_select(dim, centres)
    images = torch.cat((colour, other.clamp(max=maximum).expand(1, 3, -1, -1)))
    return ((images - mean[..., None, None]) / std[..., None, None]).to(dtype)


def add_norm(x: Tensor, branch: Tensor | None, weight: Tensor, bias: Tensor,
             eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Return x + branch and its layer norm over channels, `(2, B, N, C)` each, as x's type.

    Args:
        x: `(2, B, N, C)` tokens.
        branch: What a residual branch adds to them, same shape; None = nothing.
        weight: `(2, C)` scale of each modality.
        bias: `(2, C)` shift.
        eps: Added to the variance.
    """
    wide = _wide(x)
    total = x.to(wide) if branch is None else x.to(wide) + branch.to(wide)
    normed = F.layer_norm(total, total.shape[-1:], eps=eps)
    normed = normed * weight.to(wide)[:, None, None] + bias.to(wide)[:, None, None]
    return x if branch is None else total.to(x.dtype), normed.to(x.dtype)


def depthwise_gelu(tokens: Tensor, size: tuple[int, int], weight: Tensor, bias: Tensor) -> Tensor:
    """Return GELU of a depthwise 3x3 convolution of tokens: `(2, B, N, C)`, as their type.

    Args:
        tokens: `(2, B, N, C)` on a grid.
        size: `(h, w)` of the grid, h w = N; outside it there are zeros.
        weight: `(C, 1, 3, 3)`.
        bias: `(C,)`.
    """
    wide = _wide(tokens)
    maps = tokens.to(wide).flatten(0, 1).unflatten(1, size).permute(0, 3, 1, 2)
    maps = F.conv2d(maps, weight.to(wide), bias.to(wide), padding=1, groups=len(weight))
    return F.gelu(maps).flatten(2).transpose(1, 2).reshape(tokens.shape).to(tokens.dtype)


def _wide(x: Tensor) -> torch.dtype:
    """Return the type in which sums over x are taken."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
