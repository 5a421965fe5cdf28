# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights arrive whole in both streams, from every common spelling, or not at all."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.converters.backbone import load_backbone
from diffpixel_core.converters.files import read_tensors
from diffpixel_core.converters.segformer import segformer_weights
from diffpixel_core.converters.swin import resize_table, swin_weights
from diffpixel_core.converters.tensors import ConvertError, Report
from diffpixel_core.models.diffpixelformer import DiffPixelFormer, Dsim, NoFusion
from diffpixel_core.models.layers import PairNorm
from diffpixel_core.models.mit import Mit
from diffpixel_core.models.swin import Swin, relative_position

transformers = pytest.importorskip('transformers')

MIT = Mit(dims=(8, 16, 24, 32), depths=(1, 2, 1, 1), heads=(1, 2, 3, 4))
SWIN = Swin(dim=8, depths=(2, 1, 2, 2), heads=(1, 2, 4, 8), window=3)
Tensors = dict[str, Tensor]


def segformer(kind: str = 'SegformerForImageClassification') -> nn.Module:
    return randomised(getattr(transformers, kind)(transformers.SegformerConfig(
        hidden_sizes=list(MIT.dims), depths=list(MIT.depths), num_labels=5,
        num_attention_heads=list(MIT.heads), decoder_hidden_size=16)))


def hub_swin(kind: str = 'SwinForImageClassification', window: int = SWIN.window,
             stages: tuple[int, ...] = (1, 2, 3, 4)) -> nn.Module:
    return randomised(getattr(transformers, kind)(transformers.SwinConfig(
        image_size=96, embed_dim=SWIN.dim, depths=list(SWIN.depths), num_labels=5,
        num_heads=list(SWIN.heads), window_size=window, drop_path_rate=0.0,
        out_features=[f'stage{stage}' for stage in stages])))


def randomised(model: nn.Module) -> nn.Module:
    """Every parameter random, norms and tables too, so that no two could be swapped unseen."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def on_disk(model: nn.Module, directory: Path) -> Tensors:
    model.save_pretrained(directory)
    return read_tensors(directory / 'model.safetensors')


def network(backbone: Mit | Swin, fusion: type[nn.Module] = NoFusion) -> nn.Module:
    return DiffPixelFormer(backbone, 3, fusion).eval()


def features(model: nn.Module, *images: Tensor) -> list[Tensor]:
    """Ours in float64, with the layer norms' eps that Hugging Face uses."""
    for module in model.modules():
        if isinstance(module, PairNorm):
            module.eps = 1e-5
    with torch.no_grad():
        return model.double().encoder(*images)


def assert_equal(one: Tensors, other: Tensors) -> None:
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        assert torch.equal(tensor, other[key]), key


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# --- MiT -----------------------------------------------------------------------------------------


@pytest.mark.parametrize('size', [(64, 96), (71, 90)])
def test_both_streams_compute_what_transformers_does_with_a_mit(tmp_path: Path,
                                                                size: tuple[int, int]) -> None:
    reference = segformer('SegformerModel')
    reference.save_pretrained(tmp_path)
    model = network(MIT)
    load_backbone(model, str(tmp_path))
    images = torch.randn(2, 1, 3, *size, dtype=torch.float64)
    ours = features(model, *images)
    with torch.no_grad():
        theirs = [stage for image in images
                  for stage in reference.double()(image, output_hidden_states=True).hidden_states]
    theirs = [torch.cat((theirs[-8 + s], theirs[-4 + s])) for s in range(4)]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def original_mit(found: Tensors) -> Tensors:
    """The same tensors as `mit_b*.pth` spells them."""
    rules = (
        (r'^segformer\.', ''),
        (r'^encoder\.patch_embeddings\.(\d)\.layer_norm', r'patch_embed\1.norm'),
        (r'^encoder\.patch_embeddings\.(\d)', r'patch_embed\1'),
        (r'^encoder\.layer_norm\.(\d)', r'norm\1'),
        (r'^encoder\.block\.(\d)', r'block\1'),
        (r'\.layer_norm_([12])', r'.norm\1'),
        (r'\.attention\.self\.query', '.attn.q'),
        (r'\.attention\.self\.sr', '.attn.sr'),
        (r'\.attention\.self\.layer_norm', '.attn.norm'),
        (r'\.attention\.output\.dense', '.attn.proj'),
        (r'\.mlp\.dense', '.mlp.fc'),
        (r'^classifier', 'head'),
    )
    renamed: Tensors = {}
    for key, tensor in found.items():
        for pattern, into in rules:
            key = re.sub(pattern, into, key)
        key = re.sub(r'^(patch_embed|norm|block)(\d)', lambda m: f'{m[1]}{int(m[2]) + 1}', key)
        renamed[key] = tensor
    for key in [key for key in renamed if '.attention.self.key' in key]:
        pair = renamed.pop(key), renamed.pop(key.replace('self.key', 'self.value'))
        renamed[key.replace('attention.self.key', 'attn.kv')] = torch.cat(pair)
    return renamed


def test_every_spelling_of_a_mit_gives_the_same_bits(tmp_path: Path) -> None:
    reference = segformer()
    found = on_disk(reference, tmp_path)
    model = network(MIT)
    expected, _ = segformer_weights(found, model, name='disk')
    original = original_mit(found)
    assert 'block2.1.attn.kv.weight' in original
    assert len(original) == len(found) - 10
    for spelling in (
            {key.removeprefix('segformer.'): tensor for key, tensor in found.items()},
            reference.state_dict(),                                      # transformers 5 in memory
            original,
            {key: tensor for key, tensor in original.items() if not key.startswith('head.')},
            {f'backbone.{key}': tensor for key, tensor in original.items()
             if not key.startswith('head.')} | {'decode_head.linear_pred.bias': torch.zeros(3)},
    ):
        assert_equal(segformer_weights(spelling, model, name='spelt')[0], expected)


def test_a_wrapped_original_file_loads(tmp_path: Path) -> None:
    original = original_mit(on_disk(segformer(), tmp_path))
    torch.save({'state_dict': original}, tmp_path / 'mit_b9.pth')
    model = network(MIT)
    load_backbone(model, str(tmp_path / 'mit_b9.pth'))
    assert_equal(segformer_weights(original, network(MIT), name='')[0]
                 | {key: value for key, value in model.state_dict().items()
                    if key.startswith('head.')}, dict(model.state_dict()))


def test_keys_come_before_values_and_norms_go_to_both_modalities(tmp_path: Path) -> None:
    found = on_disk(segformer(), tmp_path)
    tensors, _ = segformer_weights(found, network(MIT), name='disk')
    block = 'segformer.encoder.block.1.1.'
    key, value = tensors['encoder.stages.1.blocks.1.attention.key_value.weight'].chunk(2)
    assert torch.equal(key, found[block + 'attention.self.key.weight'])
    assert torch.equal(value, found[block + 'attention.self.value.weight'])
    for norm in tensors['encoder.stages.1.blocks.1.norm2.bias']:
        assert torch.equal(norm, found[block + 'layer_norm_2.bias'])


def fresh(report: Report) -> set[str]:
    return {fate.tensor for fate in report.fresh}


def outside(model: nn.Module) -> set[str]:
    return {key for key in model.state_dict()
            if '.fusion.' in key or key.startswith('head.') or key == 'alpha'}


@pytest.mark.parametrize('kind', ['SegformerForImageClassification',
                                  'SegformerForSemanticSegmentation'])
def test_only_fusion_head_and_ensemble_are_fresh_on_mit(tmp_path: Path, kind: str) -> None:
    found = on_disk(segformer(kind), tmp_path)
    model = network(MIT, Dsim)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    report = load_backbone(model, str(tmp_path))
    assert fresh(report) == outside(model)
    assert len(outside(model)) > 8
    assert {fate.tensor for fate in report.dropped} == {
        key for key in found if not key.startswith('segformer.')}
    assert len(report.mapped) + len(report.fresh) == len(before)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]) == (key in outside(model)), key


# --- Swin ----------------------------------------------------------------------------------------


# The second size needs zeros at the patches, the windows and two of the merges.
@pytest.mark.parametrize(('window', 'size'), [(2, (128, 192)), (3, (131, 158))])
def test_both_streams_compute_what_transformers_does_with_a_swin(
        tmp_path: Path, window: int, size: tuple[int, int]) -> None:
    reference = hub_swin('SwinModel', window)
    reference.save_pretrained(tmp_path)
    model = network(Swin(SWIN.dim, SWIN.depths, SWIN.heads, window))
    load_backbone(model, str(tmp_path))
    images = torch.randn(2, 1, 3, *size, dtype=torch.float64)
    ours = features(model, *images)
    theirs: list[Tensor] = []                      # before the next merge, after the last block
    for layer in reference.double().encoder.layers:
        layer.blocks[-1].register_forward_hook(lambda module, inputs, output: theirs.append(
            output[0] if isinstance(output, tuple) else output))
    with torch.no_grad():
        reference(torch.cat(tuple(images)))
    for a, b in zip(ours, theirs, strict=True):
        b = F.layer_norm(b, b.shape[-1:], eps=1e-5).transpose(1, 2)   # the fresh output norms
        torch.testing.assert_close(a.flatten(2), b, rtol=0, atol=1e-9)


def test_output_norms_are_taken_where_the_file_has_them(tmp_path: Path) -> None:
    reference = hub_swin('SwinBackbone')
    reference.save_pretrained(tmp_path)
    model = network(SWIN)
    report = load_backbone(model, str(tmp_path))
    assert fresh(report) == outside(model)
    image = torch.randn(1, 3, 131, 158, dtype=torch.float64)
    with torch.no_grad():
        theirs = reference.double()(image).feature_maps
    for a, b in zip(features(model, image, image), theirs, strict=True):
        torch.testing.assert_close(a[:1], b, rtol=0, atol=1e-9)
        torch.testing.assert_close(a[1:], b, rtol=0, atol=1e-9)


def microsoft_swin(found: Tensors) -> Tensors:
    """The same tensors as microsoft/Swin-Transformer spells them, with its buffers."""
    rules = (
        (r'^swin\.', ''),
        (r'^embeddings\.patch_embeddings\.projection', 'patch_embed.proj'),
        (r'^embeddings\.norm', 'patch_embed.norm'),
        (r'^encoder\.', ''),
        (r'\.layernorm_before', '.norm1'),
        (r'\.layernorm_after', '.norm2'),
        (r'\.attention\.output\.dense', '.attn.proj'),
        (r'\.attention\.self\.relative', '.attn.relative'),
        (r'\.intermediate\.dense', '.mlp.fc1'),
        (r'\.output\.dense', '.mlp.fc2'),
        (r'^layernorm', 'norm'),
        (r'^classifier', 'head'),
    )
    renamed: Tensors = {}
    for key, tensor in found.items():
        for pattern, into in rules:
            key = re.sub(pattern, into, key)
        renamed[key] = tensor
    for key in [key for key in renamed if '.self.query' in key]:
        parts = [renamed.pop(key.replace('query', part)) for part in ('query', 'key', 'value')]
        renamed[key.replace('attention.self.query', 'attn.qkv')] = torch.cat(parts)
    for key in [key for key in renamed if key.endswith('_table')]:
        index = relative_position(SWIN.window)
        renamed[key.replace('_bias_table', '_index')] = index
        renamed[key.replace('attn.relative_position_bias_table', 'attn_mask')] = index.float()
    return renamed


def timm_swin(microsoft: Tensors) -> Tensors:
    """The same tensors as timm 1.0 spells them: merging is what a stage starts with."""
    return {re.sub(r'^layers\.(\d)\.downsample',
                   lambda m: f'layers.{int(m[1]) + 1}.downsample',
                   re.sub(r'^head\.', 'head.fc.', key)): tensor
            for key, tensor in microsoft.items() if not key.endswith(('_index', '_mask'))}


def torchvision_swin(microsoft: Tensors) -> Tensors:
    """The same tensors as torchvision spells them: one sequence, the index flattened."""
    renamed: Tensors = {}
    for key, tensor in microsoft.items():
        if key.endswith('attn_mask'):
            continue
        key = key.replace('patch_embed.proj', 'features.0.0')
        key = key.replace('patch_embed.norm', 'features.0.2')
        key = re.sub(r'^layers\.(\d)\.blocks', lambda m: f'features.{2 * int(m[1]) + 1}', key)
        key = re.sub(r'^layers\.(\d)\.downsample', lambda m: f'features.{2 * int(m[1]) + 2}', key)
        key = key.replace('mlp.fc1', 'mlp.0').replace('mlp.fc2', 'mlp.3')
        renamed[key] = tensor.flatten() if key.endswith('_index') else tensor
    return renamed


def test_every_spelling_of_a_swin_gives_the_same_bits(tmp_path: Path) -> None:
    reference = hub_swin()
    found = on_disk(reference, tmp_path)
    model = network(SWIN)
    expected, report = swin_weights(found, model, name='disk')
    microsoft = microsoft_swin(found)
    norms = {f'encoder.stages.{s}.norm.{leaf}' for s in range(4) for leaf in ('weight', 'bias')}
    assert fresh(report) == outside(model) | norms
    for spelling in (
            {key.removeprefix('swin.'): tensor for key, tensor in found.items()},
            {key: tensor for key, tensor in reference.state_dict().items()},
            microsoft, timm_swin(microsoft), torchvision_swin(microsoft),
    ):
        tensors, report = swin_weights(spelling, model, name='spelt')
        assert_equal(tensors, expected)
        assert fresh(report) == outside(model) | norms
        used = {name for fate in report.mapped for name in fate.note.split(', ')}
        assert used | {fate.tensor for fate in report.dropped} == set(spelling)
    torch.save({'model': microsoft}, tmp_path / 'swin_nano.pth')
    load_backbone(model, str(tmp_path / 'swin_nano.pth'))
    assert_equal(dict(model.state_dict()), expected)


def test_the_spellings_have_as_many_tensors_as_the_published_files(tmp_path: Path) -> None:
    """Swin-T has 221, 173 and 185 at Hugging Face, timm and torchvision; mit_b0.pth 176 + head."""
    swin = transformers.SwinForImageClassification(transformers.SwinConfig(
        embed_dim=8, num_heads=[1, 1, 2, 2]))
    found = {key: tensor for key, tensor in on_disk(swin, tmp_path / 'swin').items()
             if not key.endswith('_index')}
    microsoft = microsoft_swin(found)
    counts = [len(row) for row in (found, timm_swin(microsoft), torchvision_swin(microsoft))]
    assert counts == [221, 173, 185]
    mit = transformers.SegformerForImageClassification(transformers.SegformerConfig(
        hidden_sizes=[8, 8, 16, 16]))
    assert len(original_mit(on_disk(mit, tmp_path / 'mit'))) == 176 + 2


def test_a_segmentation_file_brings_its_output_norms(tmp_path: Path) -> None:
    names = on_disk(hub_swin(), tmp_path)
    found = {f'backbone.{key}': tensor for key, tensor in microsoft_swin(names).items()
             if not key.startswith(('norm.', 'head.'))}
    for s, dim in enumerate(SWIN.dims):
        found[f'backbone.norm{s}.weight'] = torch.randn(dim)
        found[f'backbone.norm{s}.bias'] = torch.randn(dim)
    found['decode_head.conv_seg.bias'] = torch.randn(3)
    model = network(SWIN)
    tensors, report = swin_weights(found, model, name='seg')
    assert fresh(report) == outside(model)
    ours, theirs = tensors['encoder.stages.2.norm.bias'], found['backbone.norm2.bias']
    assert torch.equal(ours, torch.stack((theirs, theirs)))
    del found['backbone.norm2.bias']               # half a norm is a damaged file, not a fresh norm
    with pytest.raises(ConvertError, match=r'missing: backbone\.norm2\.bias'):
        swin_weights(found, model, name='seg')


def test_the_norm_of_the_patch_embedding_arrives(tmp_path: Path) -> None:
    found = on_disk(hub_swin(), tmp_path)
    model = network(SWIN)
    load_backbone(model, str(tmp_path))
    for modality in range(2):
        assert torch.equal(model.encoder.embed.norm.weight[modality],
                           found['swin.embeddings.norm.weight'])


def test_a_table_of_another_window_is_resized_and_reported(tmp_path: Path) -> None:
    found = on_disk(hub_swin(window=2), tmp_path)
    model = network(SWIN)                                                # window 3
    report = load_backbone(model, str(tmp_path))
    notes = [fate.note for fate in report.mapped if fate.tensor.endswith('.bias_table')]
    assert len(notes) == sum(SWIN.depths)
    assert all(note.endswith('interpolated from window 2 to 3') for note in notes)
    table = found['swin.encoder.layers.2.blocks.1.attention.self.relative_position_bias_table']
    ours = model.encoder.stages[2].blocks[1].attention.bias_table
    assert ours.shape == (25, 4)
    assert torch.equal(ours, resize_table(table, 3))
    middle = table.shape[0] // 2, ours.shape[0] // 2                     # no displacement
    assert torch.allclose(ours[middle[1]], table[middle[0]])


def bicubic(values: Tensor, length: int) -> Tensor:
    """Keys' cubic convolution with a = -0.75, pixel centres at halves, the edge repeated."""
    def kernel(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.25 * x ** 3 - 2.25 * x ** 2 + 1
        return -0.75 * (x ** 3 - 5 * x ** 2 + 8 * x - 4) if x < 2 else 0.0

    out = []
    for i in range(length):
        at = (i + 0.5) * len(values) / length - 0.5
        near = range(math.floor(at) - 1, math.floor(at) + 3)
        out.append(sum(kernel(at - j) * values[min(max(j, 0), len(values) - 1)] for j in near))
    return torch.stack(out)


def test_resizing_a_table() -> None:
    table = torch.randn(169, 3)
    assert resize_table(table, 7) is table
    constant = torch.full((169, 3), 2.5, dtype=torch.float16)
    torch.testing.assert_close(resize_table(constant, 12), torch.full((529, 3), 2.5))
    column = torch.randn(13)
    down = column.repeat_interleave(13)[:, None]                         # differs by the row only
    grid = resize_table(down, 12).reshape(23, 23)
    torch.testing.assert_close(grid, grid[:, :1].expand(23, 23))
    torch.testing.assert_close(grid[:, 0], bicubic(column, 23))
    heads = resize_table(torch.cat((table, down), 1), 12)                # heads do not mix
    torch.testing.assert_close(heads[:, 3:], grid.reshape(-1, 1))


def test_an_index_that_reads_the_table_otherwise_is_refused(tmp_path: Path) -> None:
    found = microsoft_swin(on_disk(hub_swin(), tmp_path))
    key = 'layers.1.blocks.0.attn.relative_position_index'
    found[key] = found[key].T.contiguous()
    with pytest.raises(ConvertError, match=f'{key} does not read the biases of a window of 3x3'):
        swin_weights(found, network(SWIN), name='turned')


# --- What does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize('backbone', [MIT, SWIN])
def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, backbone: Mit | Swin) -> None:
    if isinstance(backbone, Mit):
        found, weights = on_disk(segformer(), tmp_path), segformer_weights
        renamed, cut, gone = (f'segformer.encoder.block.1.0.{part}' for part in (
            'mlp.dense1.bias', 'mlp.dense2.bias', 'attention.self.value.weight'))
    else:
        found, weights = on_disk(hub_swin(), tmp_path), swin_weights
        renamed, cut, gone = (f'swin.encoder.layers.1.blocks.0.{part}' for part in (
            'intermediate.dense.bias', 'output.dense.bias', 'attention.self.value.weight'))
    found['surprise.bias'] = found.pop(renamed)
    found[cut] = found[cut][:-1]
    del found[gone]
    with pytest.raises(ConvertError) as caught:
        weights(found, network(backbone), name='my.safetensors')
    message = str(caught.value)
    assert message.startswith('my.safetensors does not fit: ')
    for fault in (f'missing: {renamed}', f'missing: {gone}', 'unexpected: surprise.bias',
                  f'{cut} is (15,), should be (16,)'):
        assert fault in message


def test_a_file_of_another_size_is_named_with_a_model_for_it(tmp_path: Path) -> None:
    model = transformers.SegformerModel(transformers.SegformerConfig(
        hidden_sizes=[64, 128, 320, 512], depths=[3, 4, 6, 3]))
    found = {key: tensor.expand(tensor.shape) for key, tensor in model.state_dict().items()}
    with pytest.raises(ConvertError, match=r'holds a mit_b2, .* a mit_b0; use diffpixelformer_b2, '
                                           r'or weights of a mit_b0 such as nvidia/mit-b0$'):
        segformer_weights(found, DiffPixelFormer(Mit(dims=(32, 64, 160, 256)), 3, NoFusion),
                          name='x')
    with pytest.raises(ConvertError, match=r'holds a mit_b2, .* use diffpixelformer_b2$'):
        segformer_weights(found, network(MIT), name='x')


@pytest.mark.parametrize(('key', 'said'), [
    ('layers.0.blocks.0.attn.relative_position_bias_table', 'a Swin file; use --from swin'),
    ('encoder.block1.0.attn.cross_attn_0_to_1.in_proj_bias', '--from diffpixelformer or'),
    ('encoder.stages.0.blocks.0.feed_forward.fc1.bias', 'need no conversion'),
    ('backbone.layers.0.1.0.attn.attn.in_proj_weight', 'a MiT of mmsegmentation'),
    ('conv1.weight', 'nothing known (1 tensors: conv1.weight ...)'),
])
def test_a_file_of_another_kind_is_named(key: str, said: str) -> None:
    with pytest.raises(ConvertError, match=r'^f\.pth is not the weights of a SegFor') as error:
        segformer_weights({key: torch.zeros(1)}, network(MIT), name='f.pth')
    assert said in str(error.value)


@pytest.mark.parametrize(('key', 'said'), [
    ('block1.0.attn.q.bias', 'a SegFormer MiT'),
    ('patch_embed1.proj.weight', '--from segformer'),
    ('segformer.encoder.patch_embeddings.0.proj.weight', '--from segformer'),
    ('layers.0.blocks.0.attn.cpb_mlp.0.weight', 'a Swin V2'),
    ('backbone.stages.0.blocks.0.attn.w_msa.qkv.weight', 'orders channels in its own way'),
])
def test_a_file_that_is_no_swin_is_named(key: str, said: str) -> None:
    with pytest.raises(ConvertError, match=r'^f\.pth is not the weights of a Swin') as error:
        swin_weights({key: torch.zeros(1)}, network(SWIN), name='f.pth')
    assert said in str(error.value)


def test_the_model_must_be_built_on_the_same_kind(tmp_path: Path) -> None:
    mit, swin = on_disk(segformer(), tmp_path / 'mit'), on_disk(hub_swin(), tmp_path / 'swin')
    with pytest.raises(ConvertError, match='on a Swin; use a model such as diffpixelformer_t'):
        segformer_weights(mit, network(SWIN), name='f')
    with pytest.raises(ConvertError, match='on a MiT; use a model such as diffpixelformer_swin_t'):
        swin_weights(swin, network(MIT), name='f')
    with pytest.raises(ConvertError, match='looks like a Swin file; use --from swin'):
        segformer_weights(swin, network(SWIN), name='f')


def test_tables_of_two_windows_are_refused(tmp_path: Path) -> None:
    found = on_disk(hub_swin(), tmp_path)
    key = next(key for key in found if key.endswith('bias_table'))
    found[key] = torch.zeros(81, found[key].shape[1])
    with pytest.raises(ConvertError, match='81 rows, most others 25'):
        swin_weights(found, network(SWIN), name='f')
