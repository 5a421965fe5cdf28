# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the paper prints: its Tables I to V for DiffPixelFormer, and where the print is wrong.

Nothing here was measured by us. Costs can be counted again, and are, by `models.cost`; accuracies
cannot without the published weights.

Source: DiffPixelFormer, arXiv 2511.13047v1, Tables I-V and sections III and IV.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

CLASSES = 20                     # the head the printed FLOPs were counted with, on both data sets
NYUDV2, SUNRGBD = 'nyudv2', 'sunrgbd'
SIZES: Mapping[str, tuple[int, int]] = {NYUDV2: (480, 640), SUNRGBD: (530, 730)}


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Figures of one network on one data set, per cent."""

    miou: float
    pixel_accuracy: float
    mean_accuracy: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table, as printed.

    Attributes:
        label: First column.
        backbone: As printed.
        model: Our name for the network the line describes.
        counted: Our name for the network whose cost the line states.
        accuracy: By data set.
        parameters: Millions; None where the table has no such column.
        gflops: By data set, at the size of `SIZES`; the paper's FLOPs are multiply-accumulates.
        pairs: Image pairs the FLOPs are for.
        remarks: What to know about a printed number: 'parameters', 'gflops'.
    """

    label: str
    backbone: str
    model: str
    counted: str
    accuracy: Mapping[str, Accuracy]
    parameters: float | None = None
    gflops: Mapping[str, float] = field(default_factory=dict)
    pairs: int = 1
    remarks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the paper.

    Attributes:
        number: Roman, as printed.
        title: What it compares, in our words.
        rows: In the printed order.
    """

    number: str
    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Misprint:
    """A statement of the paper that its own numbers or its code contradict.

    Attributes:
        where: Section, table or equation.
        printed: What it says.
        correct: What it should say.
        why: How one knows.
    """

    where: str
    printed: str
    correct: str
    why: str


def _both(nyudv2: tuple[float, float, float],
          sunrgbd: tuple[float, float, float]) -> dict[str, Accuracy]:
    return {NYUDV2: Accuracy(*nyudv2), SUNRGBD: Accuracy(*sunrgbd)}


def _gflops(nyudv2: float, sunrgbd: float) -> dict[str, float]:
    return {NYUDV2: nyudv2, SUNRGBD: sunrgbd}


_S, _M, _L = 'diffpixelformer_s', 'diffpixelformer_m', 'diffpixelformer_l'
_BASELINE = _both((52.83, 77.63, 63.92), (51.02, 82.73, 61.92))
_PIXEL = _both((53.57, 78.18, 65.31), (51.49, 82.86, 63.48))
_ACCURACY_S = _both((56.28, 79.79, 68.98), (52.84, 83.37, 64.83))
_ACCURACY_M = _both((58.71, 80.30, 69.93), (53.69, 83.47, 66.11))
_ACCURACY_L = _both((59.95, 81.70, 72.74), (54.28, 84.14, 65.91))
_TWO_PAIRS = 'FLOPs of two image pairs'
_CUT = 'cut off, not rounded'
_ONE_KEY = 'FLOPs of the one-key code; eq. (4)-(8) need more'

TABLES: Mapping[str, Table] = {table.number: table for table in (
    Table('I', 'DiffPixelFormer among other methods', (
        Row('DiffPixelFormer-S', 'MiT-B3', _S, f'{_S}_released', _ACCURACY_S, 85.41),
        Row('DiffPixelFormer-M', 'MiT-B5', _M, f'{_M}_released', _ACCURACY_M, 157.24),
        Row('DiffPixelFormer-L', 'Swin-Large', _L, f'{_L}_released', _ACCURACY_L, 369.22,
            remarks={'parameters': 'with 37 or 40 classes'}),
    )),
    Table('II', 'parts of the network, MiT-B3', (
        Row('SA', 'MiT-B3', f'{_S}/baseline', f'{_S}/baseline', _BASELINE),
        Row('+ PACA', 'MiT-B3', f'{_S}/pixel_cross_attention', f'{_S}/pixel_cross_attention',
            _PIXEL),
        Row('+ similarity discriminator', 'MiT-B3', f'{_S}/gemini', f'{_S}/gemini',
            _both((54.36, 78.59, 66.63), (51.98, 83.02, 63.94))),
        Row('+ difference discriminator', 'MiT-B3', f'{_S}/dsim_no_factor', f'{_S}/dsim_no_factor',
            _both((56.09, 79.46, 68.79), (52.62, 83.31, 64.56))),
        Row('+ learning factor', 'MiT-B3', _S, f'{_S}_released', _ACCURACY_S),
    )),
    Table('III', 'attention mechanisms, MiT-B3', (
        Row('Baseline', 'MiT-B3', f'{_S}/baseline', f'{_S}/baseline', _BASELINE,
            44.65, _gflops(100.75, 135.58), remarks={'gflops': _CUT}),
        Row('Cross-Attention', 'MiT-B3', f'{_S}/cross_attention', f'{_S}/cross_attention',
            _both((50.45, 76.31, 62.60), (49.69, 82.30, 61.27)),
            527.98, _gflops(482.78, 749.01),
            remarks={'parameters': 'misplaced point: 52.798'}),
        Row('SW Cross-Attention', 'MiT-B3', f'{_S}/window_cross_attention',
            f'{_S}/window_cross_attention', _both((48.51, 74.97, 61.98), (49.13, 81.95, 61.06)),
            88.09, _gflops(165.37, 213.19), remarks={'parameters': _CUT}),
        Row('Local Cross-Attention', 'MiT-B3', f'{_S}/local_cross_attention',
            f'{_S}/local_cross_attention', _both((48.80, 75.23, 62.42), (49.81, 82.39, 60.56)),
            66.38, _gflops(133.06, 174.38), remarks={'gflops': _CUT}),
        Row('Pixel-wise Cross-Attention', 'MiT-B3', f'{_S}/pixel_cross_attention',
            f'{_S}/pixel_cross_attention', _PIXEL, 66.37, _gflops(124.79, 166.79),
            remarks={'parameters': f'{_CUT}, unlike the line above; ours lacks the dead W_q, W_k',
                     'gflops': _CUT}),
        Row('DSIM (ours)', 'MiT-B3', _S, f'{_S}_released', _ACCURACY_S,
            85.40, _gflops(154.78, 205.73),
            remarks={'parameters': f'{_CUT}; 85.41 in Tables I and IV', 'gflops': _ONE_KEY}),
    )),
    Table('IV', 'backbones', (
        Row('MiT-B1', 'MiT-B1', 'diffpixelformer_b1', 'diffpixelformer_b1_released',
            _both((32.60, 66.10, 44.01), (47.03, 80.93, 59.20)),
            25.28, _gflops(100.08, 131.67), pairs=2, remarks={'gflops': _TWO_PAIRS}),
        Row('MiT-B3', 'MiT-B3', _S, f'{_S}_released', _ACCURACY_S,
            85.41, _gflops(154.78, 205.73), remarks={'gflops': _ONE_KEY}),
        Row('MiT-B5', 'MiT-B5', _M, f'{_M}_released', _ACCURACY_M,
            157.24, _gflops(569.20, 758.40), pairs=2, remarks={'gflops': _TWO_PAIRS}),
        Row('Swin Tiny', 'Swin Tiny', 'diffpixelformer_swin_t', 'diffpixelformer_swin_t_released',
            _both((46.02, 73.51, 59.33), (49.69, 81.84, 62.81)),
            51.94, _gflops(219.32, 280.35), pairs=2,
            remarks={'parameters': f'{_CUT}; two keys, no difference',
                     'gflops': _TWO_PAIRS}),
        Row('Swin Large', 'Swin Large', _L, f'{_L}_released', _ACCURACY_L,
            369.22, _gflops(815.10, 1005.65),
            remarks={'parameters': 'window 12, with 37 or 40 classes; two keys, no difference'}),
    )),
    Table('V', 'similarity discriminators, MiT-B3, NYUDv2 only', (
        Row('ECANet', 'MiT-B3', f'{_S}/judge_eca', f'{_S}/judge_eca',
            {NYUDV2: Accuracy(53.11, 77.92, 66.29)}),
        Row('SENet', 'MiT-B3', f'{_S}/judge_se', f'{_S}/judge_se',
            {NYUDV2: Accuracy(53.98, 78.18, 67.46)}),
        Row('2*MLP+gMLP+Softmax', 'MiT-B3', f'{_S}/judge_gmlp', f'{_S}/judge_gmlp',
            {NYUDV2: Accuracy(53.30, 77.91, 66.80)}),
        Row('2*MLP+Sigmoid', 'MiT-B3', f'{_S}/judge_sigmoid', f'{_S}/judge_sigmoid',
            {NYUDV2: Accuracy(54.58, 78.30, 67.42)}),
        Row('2*MLP+Softmax', 'MiT-B3', _S, f'{_S}_released',
            {NYUDV2: _ACCURACY_S[NYUDV2]}),
    )),
)}

MISPRINTS: tuple[Misprint, ...] = (
    Misprint('Table III, section IV-E', 'cross-attention has 527.98 M parameters', '52.80 M',
             'Built by its description it has 52,798,486: the point slipped by one digit.'),
    Misprint('Sections IV-E and V', 'DSIM has 83.83 % fewer parameters than cross-attention',
             '1.62 times as many',
             'The claim divides 85.40 by the 527.98 above. The 72.53 % fewer FLOPs beside it are '
             'right for 530x730 (67.94 % at 480x640), for the published code; the three keys of '
             'eq. (4)-(8) save 69.4 % and 64.2 %.'),
    Misprint('Table IV', 'FLOPs of MiT-B1, MiT-B5 and Swin Tiny', 'half of them, or less',
             'They are for two image pairs, those of MiT-B3 and Swin Large for one. The two MiT '
             'lines are met to both decimals only if the attention over the keys runs along the '
             'batch: the published fault, see the notes.'),
    Misprint('Section III-B', '3, 6, 4 and 3 blocks', '3, 4, 18 and 3 (MiT-B3)',
             'Only these give the 85.41 M of Table I; 3, 6, 4, 3 gives 42.04 M.'),
    Misprint('Table III', '66.38 M and 66.37 M; 85.40 M against 85.41 M in Tables I and IV',
             '66.38 M twice; 85.41 M',
             'Some numbers are rounded, some cut off: local and pixel-wise cross-attention have '
             '66,375,766 parameters both, DSIM 85,408,070 with 20 classes.'),
    Misprint('Eq. (5)', 'the keys are made of Q_LT', 'of the tokens',
             'The text above it says that keys are modulated, and eq. (7) projects them by W^K.'),
    Misprint('Eq. (8)', 'Y^R attends to K^D and V^D', 'to K^R and V^R',
             'V^R of eq. (6) is what brings the complement to R; read literally, R attends to '
             'itself. And eq. (7) adds noise because Q and K come from the same modality. The '
             'literal form is the variant /dsim_eq8.'),
    Misprint('Section IV-C', 'DiffPixelFormer-S outperforms CMX-B4 on NYUDv2', 'it does not',
             'Table I prints 56.28 against 56.30 % mIoU.'),
)

NOTES: tuple[str, ...] = (
    'Printed FLOPs are multiply-accumulates of the published code in training mode (batch norm 5 '
    'an element) with a head of 20 classes, which neither data set has.',
    'The published MiT code attends to a single key: its softmax is 1, and discriminators, '
    'factors, queries and keys neither reach the output nor learn. The printed costs are those of '
    'this code to both decimals, so the printed accuracies were probably measured with it, too: '
    'they stand beside our eq. (4)-(8), but are those of the _released networks.',
    'In that code the discriminators and factors of Tables II (last three lines) and V change '
    'nothing: if measured with it, these lines differ by chance only.',
    'The published Swin code has two keys and no difference discriminator.',
)


def published_accuracy(model: str) -> Mapping[str, Accuracy]:
    """Return the printed accuracies that go with one of our networks, by data set.

    Args:
        model: Name in the registry: of the network a line describes or of the one it was counted
            with. Empty for a network the paper does not have.
    """
    for table in TABLES.values():
        for row in table.rows:
            if model in (row.model, row.counted):
                return row.accuracy
    return {}


_UNCLEAR = tuple(f'{_S}/{name}' for name in (
    'gemini', 'dsim_no_factor', 'judge_eca', 'judge_se', 'judge_gmlp', 'judge_sigmoid'))


def measured_with(model: str) -> str | None:
    """Return our name for the network that was probably measured where `model` is printed.

    None where the published code, in which these parts have no influence, leaves it unclear.
    """
    if model in _UNCLEAR:
        return None
    return next((row.counted for table in TABLES.values() for row in table.rows
                 if row.model == model), model)
