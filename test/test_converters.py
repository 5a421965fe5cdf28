# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Published checkpoints become ours to the last tensor, or are refused; no code in them runs."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from diffpixel_core.__main__ import main
from diffpixel_core.checkpoints import load_model, read_manifest
from diffpixel_core.converters.conversion import convert_file
from diffpixel_core.converters.files import read_file, read_tensors
from diffpixel_core.converters.published import published_weights
from diffpixel_core.converters.tensors import (
    Concat,
    ConvertError,
    Copy,
    Fill,
    Fresh,
    Stack,
    convert,
)
from diffpixel_core.models import MODELS, build_model
from diffpixel_core.models.swin import relative_position
from diffpixel_core.segmenter import load_segmenter
from goldens.published import GOLDENS, inputs, published_state


@pytest.fixture(scope='module')
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the published training writes it: wrapped, data-parallel, with NumPy scores."""
    path = tmp_path_factory.mktemp('published') / 'nyu.pth.tar'
    state = {f'module.{key}': tensor for key, tensor in published_state().items()}
    torch.save({'segmenter': state, 'epoch_start': np.int64(299), 'best_val': np.float64(0.5628)},
               path)
    return path


@pytest.mark.parametrize('model', ['diffpixelformer_t_released', 'diffpixelformer_t'])
def test_a_published_file_becomes_a_model_directory(published: Path, tmp_path: Path, model: str,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    code = main(['convert', str(published), '--from', 'diffpixelformer', '--model', model,
                 '--classes', '40', '--output', str(tmp_path / 'm')])
    printed = capsys.readouterr().out
    assert code == 0
    network, manifest = load_model(tmp_path / 'm')
    case = 'nonparallel' if model == 'diffpixelformer_t' else 'default'
    figures = np.load(GOLDENS / f'mit_b0_64x96_B1_{case}.npz')
    with torch.no_grad():
        scores = network.double()(*inputs(1)).ensemble.numpy().ravel()
    np.testing.assert_allclose(scores[figures['ens_idx']], figures['ens_f64'], rtol=0, atol=1e-9)
    assert manifest.label_space == 'nyu40'
    assert manifest.provenance['file'] == 'nyu.pth.tar'
    assert manifest.normalisation['depth']['mean'] == [0.0]
    record = json.loads((tmp_path / 'm' / 'conversion.json').read_text())
    assert record['other_entries'] == ['epoch_start', 'best_val']
    assert len(record['mapped']) + len(record['fresh']) == len(network.state_dict())
    words = ' '.join(printed.split())
    assert 'Parameters: 6,637,738 in the file' in words
    for word in ('mapped', 'dropped', 'a start for training' if case == 'nonparallel' else 'dead'):
        assert word in words


def test_dropped_and_live_parameters_add_up_to_the_published_count() -> None:
    """11 C^2 + 12 C + 4 parameters a block are dead, so says the specification."""
    model = build_model('diffpixelformer_t_released', classes=40)
    _, report = published_weights(published_state(), model, name='recipe')
    dead = sum(fate.parameters for fate in report.dropped)
    assert dead == sum(2 * (11 * c * c + 12 * c + 4) for c in (32, 64, 160, 256))
    assert dead + sum(p.numel() for p in model.parameters()) == 6_637_738
    assert not report.fresh
    rows = next(fate.tensor for fate in report.dropped
                if fate.tensor.startswith('encoder.block1.0.attn.cross_attn_0_to_1.in_proj_w'))
    assert rows.endswith('in_proj_weight[0:64]'), 'W_q and W_k: two thirds of 96 rows'


def test_every_published_tensor_of_the_paper_is_used_but_its_factors() -> None:
    model = build_model('diffpixelformer_t', classes=40)
    tensors, report = published_weights(published_state(), model, name='recipe')
    assert len(report.dropped) == 16
    assert all('scale_factor' in fate.tensor for fate in report.dropped)
    factors = [key for key in tensors if key.endswith(('fusion.alpha', 'fusion.beta'))]
    assert sorted(factors) == sorted(fate.tensor for fate in report.fresh)
    assert all((tensors[key] == 1).all() for key in factors)


def gemini_state() -> dict[str, Tensor]:
    return {key: tensor for key, tensor in published_state().items()
            if 'scale_factor' not in key and '.diff_' not in key}


def test_geminifusion_files_fit_their_variant_completely() -> None:
    model = build_model('diffpixelformer_t/gemini', classes=40)
    _, report = published_weights(gemini_state(), model, name='recipe')
    assert not report.dropped
    assert not report.fresh


def test_a_wrong_checkpoint_is_refused_with_all_that_is_wrong() -> None:
    state = published_state()
    first = 'encoder.block1.0.attn.'
    state[f'{first}query.weight'] = state.pop(f'{first}q.module.weight')   # renamed
    state['decoder.linear_pred.weight'] = torch.zeros(37, 256, 1, 1)       # misshapen
    del state[f'{first}v_noise.weight']                                    # missing
    for name in ('diffpixelformer_t', 'diffpixelformer_t_released'):
        with pytest.raises(ConvertError) as refusal:
            published_weights(state, build_model(name, classes=40), name='nyu.pth')
        for words in ('nyu.pth', f'missing: {first}q.module.weight',
                      f'unexpected: {first}query.weight', f'missing: {first}v_noise.weight',
                      'decoder.linear_pred.weight is (37, 256, 1, 1), should be (40, 256, 1, 1)'):
            assert words in str(refusal.value)


def test_what_the_closed_form_drops_must_be_there_and_nothing_else() -> None:
    """A file of GeminiFusion, whose keys are alive, is no one-key checkpoint."""
    model = build_model('diffpixelformer_t_released', classes=40)
    with pytest.raises(ConvertError, match='--from geminifusion'):
        published_weights(gemini_state(), model, name='gemini.pth')
    state = published_state()
    del state['encoder.block2.1.attn.diff_0_to_1.fc1.weight']
    with pytest.raises(ConvertError, match=r'missing: encoder\.block2\.1\.attn\.diff_0_to_1\.fc1'):
        published_weights(state, model, name='cut.pth')
    state = published_state()
    state['encoder.block1.9.attn.k_noise.weight'] = torch.zeros(2, 32)     # no such block
    state['encoder.block1.0.attn.k_noise.weight'] = torch.zeros(9, 9)
    state['decoder.k_noise.weight'] = torch.zeros(2, 32)
    with pytest.raises(ConvertError) as refusal:
        published_weights(state, model, name='odd.pth')
    for words in ('unexpected: encoder.block1.9.attn.k_noise.weight',
                  'unexpected: decoder.k_noise.weight', 'is (9, 9), should be (2, 32)'):
        assert words in str(refusal.value)


def test_a_file_of_the_earlier_published_code_has_no_factors() -> None:
    state = {key: tensor for key, tensor in published_state().items() if 'scale_factor' not in key}
    for name in ('diffpixelformer_t_released', 'diffpixelformer_t'):
        published_weights(state, build_model(name, classes=40), name='earlier.pth')


def test_a_published_index_that_reads_the_biases_otherwise_is_refused() -> None:
    state = published_state('keys_swin_tiny')
    key = 'encoder.body.layers.0.blocks.0.attn.module.relative_position_index'
    model = build_model('diffpixelformer_swin_t_released', classes=40)
    state[key] = relative_position(7)
    _, report = published_weights(state, model, name='swin.pth')
    assert [fate.tensor for fate in report.dropped] == [key]
    state[key] = state[key].T.contiguous()
    with pytest.raises(ConvertError, match='does not read the biases'):
        published_weights(state, model, name='swin.pth')


def test_numbers_that_are_not_finite_are_refused() -> None:
    state = published_state()
    state['encoder.norm1.ln_0.bias'][3] = float('nan')
    with pytest.raises(ConvertError, match=r'NaN .*: encoder\.norm1\.ln_0\.bias; take'):
        published_weights(state, build_model('diffpixelformer_t', classes=40), name='x')


@pytest.mark.parametrize(('model', 'kind', 'noted'), [
    ('diffpixelformer_t_released', 'diffpixelformer', False),
    ('diffpixelformer_t/gemini', 'diffpixelformer', True),
    ('diffpixelformer_t/gemini', 'geminifusion', True),
    ('diffpixelformer_t/dsim_no_factor', 'diffpixelformer', True),
])
def test_what_was_trained_with_one_key_says_so_in_other_variants(
        published: Path, tmp_path: Path, model: str, kind: str, noted: bool,
        caplog: pytest.LogCaptureFixture) -> None:
    conversion = convert_file(str(published), kind, model=model, classes=40, output=tmp_path)
    assert any('one key' in note for note in conversion.notes) == noted
    load_segmenter(tmp_path, 'torch')
    assert ('one key' in caplog.text) == noted, 'the one who runs it is told, too'


def test_averaged_weights_that_are_left_out_are_named(tmp_path: Path) -> None:
    state = published_state()
    torch.save({'state_dict': state, 'state_dict_ema': state}, tmp_path / 'x.pth')
    notes = convert_file(str(tmp_path / 'x.pth'), 'diffpixelformer', classes=40,
                         model='diffpixelformer_t_released', output=tmp_path / 'm').notes
    assert any('state_dict_ema, which is left out' in note for note in notes)


@pytest.mark.parametrize(('keys', 'model', 'words'), [
    ('keys_mit_b0', 'diffpixelformer_b2', 'holds a mit_b0'),
    ('keys_mit_b0', 'diffpixelformer_swin_t_released', 'holds a mit_b0'),
    ('keys_swin_tiny', 'diffpixelformer_swin_s_released', 'holds a swin_t'),
    ('keys_swin_tiny', 'diffpixelformer_t', 'holds a swin_t'),
])
def test_a_checkpoint_of_another_backbone_is_refused(keys: str, model: str, words: str) -> None:
    with torch.device('meta'):
        network = build_model(model, classes=40)
    with pytest.raises(ConvertError, match=words) as refusal:
        published_weights(published_state(keys), network, name='nyu.pth')
    assert len(str(refusal.value)) < 250


def test_a_file_that_is_no_published_checkpoint_says_what_it_looks_like() -> None:
    state = {'encoder.block.0.0.layer_norm_1.weight': torch.ones(32),
             'encoder.patch_embeddings.0.proj.weight': torch.ones(32, 3, 7, 7)}
    with pytest.raises(ConvertError, match='SegFormer MiT file; use --from segformer'):
        published_weights(state, build_model('diffpixelformer_t', classes=40), name='b0.pth')


def test_an_unpublished_variant_says_that_no_file_has_it() -> None:
    with pytest.raises(ConvertError, match='JudgeEca'):
        published_weights(published_state(), build_model('diffpixelformer_t/judge_eca', classes=40),
                          name='b0.pth')


@pytest.mark.parametrize('name', [name for name in MODELS if name.startswith((
    'diffpixelformer_t', 'diffpixelformer_swin_t')) and '/judge' not in name])
def test_the_file_is_used_whole_or_says_why_not(name: str) -> None:
    """Every element of the file is mapped once or dropped: nothing is lost, nothing used twice."""
    suffix = {'cross_attention': '_crossattention', 'local_cross_attention': '_crosslocal',
              'window_cross_attention': '_crossshifted'}.get(name.rpartition('/')[2], '')
    state = published_state('keys_swin_tiny' if 'swin' in name else f'keys_mit_b0{suffix}')
    if name.endswith('pixel_cross_attention'):
        state = {key: tensor for key, tensor in state.items() if '.attn.cross_attn_' in key
                 or not any(part in key for part in ('_noise', 'judger', 'diff_', 'scale_factor'))}
    if name == 'diffpixelformer_swin_t':
        with pytest.raises(ConvertError, match='no difference discriminator'):
            published_weights(state, build_model(name, classes=40), name='recipe')
        return
    _, report = published_weights(state, build_model(name, classes=40), name='recipe')
    used = sum(fate.parameters for fate in report.mapped + report.dropped)
    assert used == sum(tensor.numel() for tensor in state.values())


class Bomb:
    """Runs when it is unpickled, if anything lets it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        """Return what unpickling calls."""
        return Path.touch, (self.target,)


@pytest.mark.parametrize('legacy', [False, True])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, legacy: bool,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    trap, file = tmp_path / 'executed', tmp_path / 'bomb.pth'
    torch.save({'segmenter': published_state(), 'best_val': Bomb(trap)}, file,
               _use_new_zipfile_serialization=not legacy)
    code = main(['convert', str(file), '--from', 'diffpixelformer', '--model',
                 'diffpixelformer_t_released', '--classes', '40', '--output',
                 str(tmp_path / 'm')])
    said = capsys.readouterr().err
    assert code == 2
    assert 'nothing in it was executed' in said
    assert 'Path.touch' in said or 'getattr' in said, 'it says what would have been run'
    assert len(said.strip().splitlines()) == 1
    assert not trap.exists()
    assert not (tmp_path / 'm').exists()
    torch.load(file, weights_only=False)
    assert trap.exists(), 'the trap works: without the guard it goes off'


@pytest.mark.parametrize('change', [torch.Tensor.int, torch.Tensor.to_sparse,
                                    lambda tensor: tensor.to('meta'), torch.Tensor.cfloat])
def test_tensors_that_are_no_dense_floats_are_refused(change: Callable[[Tensor], Tensor]) -> None:
    state = published_state()
    state['alpha'] = change(state['alpha'])
    with pytest.raises(ConvertError, match=r'alpha is .*, should hold dense floating-point'):
        published_weights(state, build_model('diffpixelformer_t', classes=40), name='x')


def test_every_kind_of_fault_is_named_however_many_there_are() -> None:
    state = published_state()
    for key in list(state)[20:60]:
        del state[key]
    state['odd'] = torch.ones(1)
    state['alpha'] = torch.ones(3)
    with pytest.raises(ConvertError) as refusal:
        published_weights(state, build_model('diffpixelformer_t', classes=40), name='x')
    for words in ('missing: ', 'unexpected: odd', 'alpha is (3,)', 'and 30 more'):
        assert words in str(refusal.value)


def test_places_that_cannot_take_a_model_are_refused_before_reading(
        tmp_path: Path, published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'file').write_text('x')
    (tmp_path / 'theirs').mkdir()
    (tmp_path / 'theirs' / 'model.safetensors').write_text('x')
    for output, words in (('file', 'a file'), ('file/sub', 'a file'), ('theirs', 'not ours'),
                          (str(published.parent), 'holds the file to be converted')):
        code = main(['convert', str(published), '--from', 'diffpixelformer', '--model',
                     'diffpixelformer_t', '--classes', '40', '--output', str(tmp_path / output)])
        said = capsys.readouterr().err.strip()
        assert code == 2
        assert words in said.splitlines()[-1]
    assert (tmp_path / 'theirs' / 'model.safetensors').read_text() == 'x'


def test_brackets_in_a_path_are_no_markup(tmp_path: Path, published: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / 'o[red]u[/x]'
    assert main(['convert', str(published), '--from', 'diffpixelformer', '--model',
                 'diffpixelformer_t', '--classes', '40', '--output', str(output)]) == 0
    assert 'o[red]u[/x]' in capsys.readouterr().out.replace('\n', '')
    assert main(['info', str(output)]) == 0
    assert 'o[red]u[/x]' in capsys.readouterr().out.replace('\n', '').replace(' ', '')


@pytest.mark.parametrize(('content', 'words'), [
    (b'version https://git-lfs.github.com/spec/v1', 'git lfs pull'),
    (b'', 'no file of torch.save'), (b'not a checkpoint at all', 'no file of torch.save'),
    (b'\x10\0\0\0\0\0\0\0{"a": broken', 'damaged safetensors'),
    (pickle.dumps([1, 2], protocol=2), 'torch.save'),
])
def test_files_that_are_no_weights_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / 'x.pth'
    file.write_bytes(content)
    with pytest.raises(ConvertError, match=words):
        read_tensors(file)


def test_a_truncated_file_and_no_file_are_refused(tmp_path: Path, published: Path) -> None:
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(published.read_bytes()[:100_000])
    with pytest.raises(ConvertError, match='download it again'):
        read_tensors(cut)
    with pytest.raises(ConvertError, match='no file at'):
        read_tensors(tmp_path / 'nowhere.pth')


def test_a_file_without_tensors_says_what_it_holds(tmp_path: Path) -> None:
    torch.save({'epoch': 3, 'lr': 0.1}, tmp_path / 'x.pth')
    with pytest.raises(ConvertError, match='epoch, lr'):
        read_tensors(tmp_path / 'x.pth')
    torch.save({'a': torch.ones(1), 7: torch.ones(1)}, tmp_path / 'z.pth')
    with pytest.raises(ConvertError, match='not named by text, such as 7'):
        read_tensors(tmp_path / 'z.pth')
    torch.save(torch.ones(3), tmp_path / 'y.pth')
    with pytest.raises(ConvertError, match='Tensor'):
        read_tensors(tmp_path / 'y.pth')


@pytest.mark.parametrize('wrapper', ['segmenter', 'state_dict', 'model', None])
def test_wrappers_and_prefixes_are_taken_off(tmp_path: Path, wrapper: str | None) -> None:
    state = {'module.module.a': torch.ones(2), 'module.module.b': torch.zeros(1)}
    torch.save({wrapper: state, 'epoch': 3} if wrapper else state, tmp_path / 'x.pth')
    tensors, others = read_file(tmp_path / 'x.pth')
    assert list(tensors) == ['a', 'b']
    assert others == (('epoch',) if wrapper else ())


def test_safetensors_are_known_by_their_content(tmp_path: Path) -> None:
    safetensors.torch.save_file({'a': torch.ones(2)}, tmp_path / 'x.bin')
    assert torch.equal(read_tensors(tmp_path / 'x.bin')['a'], torch.ones(2))


def test_conversion_is_reproducible_and_leaves_the_random_state_alone(published: Path,
                                                                      tmp_path: Path) -> None:
    before = torch.get_rng_state()
    hashes = set()
    for name in ('a', 'b'):
        convert_file(str(published), 'diffpixelformer', model='diffpixelformer_t/baseline',
                     classes=40, output=tmp_path / name)
        hashes.add(read_manifest(tmp_path / name).weights_sha256)
    assert len(hashes) == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_plans_take_rows_stack_and_concatenate() -> None:
    found = {'a': torch.arange(6.0), 'b': torch.arange(2.0) + 10, 'c': torch.ones(1)}
    model = {'third': torch.zeros(2), 'two': torch.zeros(2, 2), 'row': torch.zeros(4),
             'one': torch.zeros(3), 'own': torch.full((2,), 7.0)}
    plan = {'third': Copy('a', (2, 1, 3)), 'two': Stack((Copy('b'), Copy('b'))),
            'row': Concat((Copy('b'), Copy('b'))), 'one': Fill(1.0, 'why'), 'own': Fresh('new')}
    tensors, report = convert(found, model, plan, lambda key: 'unused' if key != 'b' else None,
                              name='x')
    assert tensors['third'].tolist() == [4, 5]
    assert tensors['two'].tolist() == [[10, 11], [10, 11]]
    assert tensors['row'].tolist() == [10, 11, 10, 11]
    assert tensors['one'].tolist() == [1, 1, 1]
    assert tensors['own'].tolist() == [7, 7]
    assert [(fate.tensor, fate.parameters) for fate in report.dropped] == [('a[0:4]', 4), ('c', 1)]
    assert report.groups('fresh') == [('why', 1, 3), ('new', 1, 2)]
    with pytest.raises(ConvertError, match='unexpected: a; unexpected: c'):
        convert(found, model, plan, lambda key: None, name='x')
