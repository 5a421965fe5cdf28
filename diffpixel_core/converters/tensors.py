# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""From foreign tensors to ours by a plan: what each of ours is made of, and why others are dropped.

A plan names a `Source` for every tensor of the model. `convert` follows it to the last row of the
last tensor: a foreign tensor that the plan neither uses nor has a reason to drop is a fault, and
all faults are reported at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from diffpixel_core.errors import DiffPixelError

Shape = tuple[int, ...]
Reason = Callable[[str], 'str | None']
"""Why a foreign tensor, or the rows of it that are left over, may be dropped; None = it may not."""


class ConvertError(DiffPixelError):
    """A foreign file that is damaged, of another kind, or does not fit the model."""


@dataclass(frozen=True, slots=True)
class Demand:
    """A foreign tensor a source needs.

    Attributes:
        key: Its name.
        shape: Its shape; None in a dimension that may have any length.
        rows: Part that is used, as fractions (start, stop) of the first dimension.
    """

    key: str
    shape: tuple[int | None, ...]
    rows: tuple[float, float] = (0.0, 1.0)

    def fits(self, shape: Shape) -> bool:
        """Return whether a foreign tensor of this shape will do."""
        return len(shape) == len(self.shape) and all(
            want is None or want == have for want, have in zip(self.shape, shape, strict=True))


class Source(Protocol):
    """What one of our tensors is made of."""

    def demands(self, shape: Shape) -> list[Demand]:
        """Return the foreign tensors needed for one of ours of this shape."""

    def build(self, found: Mapping[str, Tensor], shape: Shape) -> Tensor:
        """Return our tensor of this shape; every demand is met."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A foreign tensor, or one of several equal parts of its rows.

    Attributes:
        key: Foreign name.
        part: `(first, count, of)`: `count` parts from `first` on, out of `of` equal ones.
    """

    key: str
    part: tuple[int, int, int] = (0, 1, 1)

    def demands(self, shape: Shape) -> list[Demand]:
        """See `Source`."""
        first, count, of = self.part
        whole = (shape[0] * of // count, *shape[1:]) if shape else shape
        return [Demand(self.key, whole, (first / of, (first + count) / of))]

    def build(self, found: Mapping[str, Tensor], shape: Shape) -> Tensor:
        """See `Source`."""
        tensor = found[self.key]
        if self.part == (0, 1, 1):
            return tensor
        first, count, of = self.part
        rows = tensor.shape[0] // of
        return tensor[first * rows:(first + count) * rows]


@dataclass(frozen=True, slots=True)
class Stack:
    """Several sources, stacked along a new first dimension."""

    sources: tuple[Source, ...]

    def demands(self, shape: Shape) -> list[Demand]:
        """See `Source`."""
        return [need for source in self.sources for need in source.demands(shape[1:])]

    def build(self, found: Mapping[str, Tensor], shape: Shape) -> Tensor:
        """See `Source`."""
        return torch.stack([source.build(found, shape[1:]) for source in self.sources])


@dataclass(frozen=True, slots=True)
class Concat:
    """Several sources of one shape, one after the other along the first dimension."""

    sources: tuple[Source, ...]

    def demands(self, shape: Shape) -> list[Demand]:
        """See `Source`."""
        part = (shape[0] // len(self.sources), *shape[1:])
        return [need for source in self.sources for need in source.demands(part)]

    def build(self, found: Mapping[str, Tensor], shape: Shape) -> Tensor:
        """See `Source`."""
        part = (shape[0] // len(self.sources), *shape[1:])
        return torch.cat([source.build(found, part) for source in self.sources])


@dataclass(frozen=True, slots=True)
class Fill:
    """A constant, whatever the file holds.

    Attributes:
        value: Of every element.
        why: Reason, for the report.
    """

    value: float
    why: str

    def demands(self, shape: Shape) -> list[Demand]:
        """See `Source`."""
        return []

    def build(self, found: Mapping[str, Tensor], shape: Shape) -> Tensor:
        """See `Source`."""
        return torch.full(shape, self.value)


@dataclass(frozen=True, slots=True)
class Fresh:
    """Nothing foreign: the tensor stays as the model initialised it.

    Attributes:
        why: Reason, for the report.
    """

    why: str

    def demands(self, shape: Shape) -> list[Demand]:
        """See `Source`."""
        return []

    def build(self, found: Mapping[str, Tensor], shape: Shape) -> Tensor:
        """See `Source`."""
        raise AssertionError('the model keeps its own')


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a tensor.

    Attributes:
        tensor: Name: ours if mapped or fresh, foreign if dropped; with `[first:last]` rows.
        parameters: Elements.
        note: Foreign names it was made of, or the reason.
    """

    tensor: str
    parameters: int
    note: str


@dataclass(frozen=True, slots=True)
class Report:
    """What became of every tensor of a conversion.

    Attributes:
        mapped: Ours, and the foreign tensors each was made of.
        dropped: Foreign, left out for a reason.
        fresh: Ours, without a foreign counterpart: newly initialised or constant.
    """

    mapped: tuple[Fate, ...]
    dropped: tuple[Fate, ...]
    fresh: tuple[Fate, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return lists of plain types."""
        return {name: list(rows) for name, rows in asdict(self).items()}

    def groups(self, kind: str) -> list[tuple[str, int, int]]:
        """Return (reason, tensors, parameters) of 'dropped' or 'fresh', largest first."""
        rows: dict[str, tuple[int, int]] = {}
        for fate in getattr(self, kind):
            tensors, parameters = rows.get(fate.note, (0, 0))
            rows[fate.note] = tensors + 1, parameters + fate.parameters
        return sorted(((note, *count) for note, count in rows.items()), key=lambda row: -row[2])

    def summary(self) -> str:
        """Return one line: how much was mapped, dropped and newly initialised."""
        counts = [f'{word} {len(rows)} tensors ({sum(row.parameters for row in rows):,} parameters)'
                  for word, rows in (('mapped', self.mapped), ('dropped', self.dropped),
                                     ('newly initialised', self.fresh)) if rows]
        return ', '.join(counts)


def convert(found: Mapping[str, Tensor], model: Mapping[str, Tensor],
            plan: Mapping[str, Source], reason: Reason, *, name: str, advice: str = '',
            expected: Iterable[Demand] = ()) -> tuple[dict[str, Tensor], Report]:
    """Return a state dict of ours made of foreign tensors, and what became of each.

    Args:
        found: The foreign tensors.
        model: Our model's state dict: names, shapes and dtypes to meet.
        plan: A source for every key of `model`.
        reason: Says why an unused foreign tensor may be dropped.
        name: What to call the file in messages.
        advice: What to do about a file that does not fit, for the message.
        expected: Tensors that a file of this kind has though nothing is made of them.

    Raises:
        ConvertError: Naming every missing, misshapen, unexpected and not finite tensor.
    """
    assert plan.keys() == model.keys(), sorted(plan.keys() ^ model.keys())
    demands = {key: source.demands(tuple(model[key].shape)) for key, source in plan.items()}
    wanted = {need.key: need for need in expected}
    for key, needs in demands.items():
        for need in needs:
            assert wanted.setdefault(need.key, need).shape == need.shape, (key, need)
    used: dict[str, list[tuple[float, float]]] = {}
    for needs in demands.values():
        for need in needs:
            used.setdefault(need.key, []).append(need.rows)

    dropped: list[Fate] = []
    unexpected: list[str] = []
    for key, tensor in found.items():
        for start, stop in _gaps(used.get(key, [])):
            why = reason(key)
            if why is None:
                unexpected.append(key)
                break
            rows = tensor.shape[0] if tensor.ndim else 1
            whole = (start, stop) == (0.0, 1.0)
            label = key if whole else f'{key}[{round(start * rows)}:{round(stop * rows)}]'
            dropped.append(Fate(label, round(tensor.numel() * (stop - start)), why))
    faults = [
        [f'missing: {key}' for key in wanted if key not in found],
        [f'unexpected: {key}' for key in unexpected],
        [f'{key} is {tuple(found[key].shape)}, should be {_shape_text(need.shape)}'
         for key, need in wanted.items()
         if key in found and not need.fits(tuple(found[key].shape))],
        [f'{need.key} is {_kind(found[need.key])}, should hold dense floating-point numbers'
         for key, needs in demands.items() if model[key].is_floating_point()
         for need in needs if need.key in found and _kind(found[need.key])],
    ]
    if any(faults):
        raise ConvertError(f'{name} does not fit: {_first(faults)}{advice}')

    tensors: dict[str, Tensor] = {}
    mapped: list[Fate] = []
    fresh: list[Fate] = []
    broken: list[str] = []
    for key, source in plan.items():
        own = model[key]
        if isinstance(source, Fresh):
            tensors[key] = own
        else:
            tensors[key] = source.build(found, tuple(own.shape)).to(own.dtype).contiguous()
        assert tensors[key].shape == own.shape, key
        if isinstance(source, Fresh | Fill):
            fresh.append(Fate(key, own.numel(), source.why))
        else:
            names = dict.fromkeys(need.key for need in demands[key])
            mapped.append(Fate(key, own.numel(), ', '.join(names)))
            broken += [part for part in names
                       if not torch.isfinite(found[part].to(own.dtype)).all()]
    if broken:
        raise ConvertError(f'{name} holds NaN or infinite numbers, or too large ones for float32: '
                           f'{_first([list(dict.fromkeys(broken))])}; take another file')
    return tensors, Report(tuple(mapped), tuple(dropped), tuple(fresh))


def _gaps(used: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield the parts of 0..1 that no interval covers."""
    end = 0.0
    for start, stop in sorted(used):
        if start > end + 1e-9:
            yield end, start
        end = max(end, stop)
    if end < 1 - 1e-9:
        yield end, 1.0


def _shape_text(shape: tuple[int | None, ...]) -> str:
    sides = ', '.join('any' if side is None else str(side) for side in shape)
    return f'({sides},)' if len(shape) == 1 else f'({sides})'


def _kind(tensor: Tensor) -> str:
    """Return what is wrong with a tensor as a source of weights; nothing if it will do."""
    if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
        return 'a tensor without data' if tensor.is_meta else 'quantised or sparse'
    return '' if tensor.is_floating_point() else str(tensor.dtype).removeprefix('torch.')


def _first(faults: list[list[str]], limit: int = 8) -> str:
    """Return the first faults of each kind in one line, and how many there are besides."""
    shown = [fault for kind in faults for fault in kind[:limit]]
    more = sum(map(len, faults)) - len(shown)
    return '; '.join(shown) + (f'; and {more} more' if more else '')
