"""Files of torch.save as Meta, MAE and timm write them, and hostile ones: python pth_to_safetensors_test.py SCRIPT"""
import argparse
import collections
import contextlib
import io
import os
import pathlib
import pickle
import resource
import runpy
import subprocess
import sys
import tempfile
import unittest
import warnings
import zipfile
from unittest import mock

import numpy
import torch
from safetensors import safe_open

SCRIPT = str(pathlib.Path(sys.argv.pop(1)).resolve())


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return collections.OrderedDict(
        [('module.cls_token', torch.randn(1, 1, 8, generator=generator)),
         ('blocks.0.gamma_1', torch.randn(8, generator=generator).half()),
         ('blocks.0.attn.qkv.weight', torch.randn(24, 8, generator=generator).bfloat16()),
         ('index', torch.arange(5)), ('scalar', torch.tensor(3.5))])


class RunsACommand:
    """Pickled, it would leave a file behind when it is read."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.system, (f'touch {self.witness}',)


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.place = pathlib.Path(self.folder.name)

    def save(self, content, name='in.pth', legacy=False):
        torch.save(content, self.place / name, _use_new_zipfile_serialization=not legacy)
        return self.place / name

    def run_script(self, *words, **how):
        """In a process of its own only where `how` says something about it: importing torch takes seconds."""
        command = [SCRIPT, *map(str, words)]
        if how:
            return subprocess.run([sys.executable, *command], capture_output=True, text=True, **how)
        code, out, err = 0, io.StringIO(), io.StringIO()
        with mock.patch.object(sys, 'argv', command), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), \
                warnings.catch_warnings():
            try:
                runpy.run_path(SCRIPT, run_name='__main__')
            except SystemExit as end:
                code = end.code
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

    def convert(self, source, *more, name='out.safetensors'):
        result = self.run_script(source, self.place / name, '--overwrite', *more)
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        self.assertEqual([path.name for path in self.place.glob('.tmp*')], [])
        return result.stdout

    def assert_wrote(self, expected, name='out.safetensors'):
        with safe_open(self.place / name, 'pt') as file:
            self.assertEqual(file.metadata(), {'format': 'pt'})
            self.assertEqual(sorted(file.keys()), sorted(expected))
            for key, value in expected.items():
                found = file.get_tensor(key)
                self.assertEqual(found.dtype, value.dtype, key)
                self.assertTrue(torch.equal(found, value), key)

    def assert_refused(self, said, *words, **how):
        before = sorted(self.place.iterdir())
        result = self.run_script(*words, **how)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stderr.count('\n'), 1, result.stderr)
        self.assertTrue(result.stderr.startswith('pth_to_safetensors.py: '), result.stderr)
        self.assertEqual(result.stdout, '')
        for part in [said] if isinstance(said, str) else said:
            self.assertIn(part, result.stderr)
        self.assertEqual(sorted(self.place.iterdir()), before)


class Reads(Case):
    def test_both_formats_and_every_place(self):
        for legacy in [False, True]:
            for key in ['', 'model', 'state_dict', 'model_ema', 'state_dict_ema', 'module']:
                with self.subTest(key=key, legacy=legacy):
                    said = self.convert(self.save({key: weights(), 'epoch': 3} if key else weights(), legacy=legacy))
                    self.assert_wrote(weights())
                    self.assertIn(f"'{key}' of" if key else 'in.pth', said)

    def test_a_training_checkpoint_of_mae(self):
        model = torch.nn.Linear(3, 4)
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        args = argparse.Namespace(model='mae_vit_base_patch16', lr=1e-3, mask_ratio=0.75, data_path=None, pin_mem=True)
        path = self.save({'model': model.state_dict(), 'optimizer': optimizer.state_dict(), 'epoch': 799,
                          'scaler': {'scale': 65536.0}, 'args': args})
        self.assertNotIn('--key', self.convert(path))
        self.assert_wrote(model.state_dict())

    def test_the_average_is_named_and_can_be_chosen(self):
        path = self.save({'state_dict': weights(1), 'state_dict_ema': weights(2), 'arch': 'x', 'version': 2})
        said = self.convert(path)
        self.assertIn("'state_dict' of", said)
        self.assertIn('state_dict_ema (--key', said)
        self.assert_wrote(weights(1))
        self.assertIn("'state_dict_ema' of", self.convert(path, '--key', 'state_dict_ema'))
        self.assert_wrote(weights(2))

    def test_what_is_no_tensor_is_named_and_left_out(self):
        said = self.convert(self.save({**weights(), 'epoch': 3, 'note': 'text', 'more': {'inner': torch.ones(1)}}))
        self.assertIn('epoch (int), note (str), more (dict)', said)
        self.assert_wrote(weights())

    def test_what_torch_puts_off_is_done(self):
        values = torch.arange(1.0, 9.0)
        self.convert(self.save({'negated': torch._neg_view(values), 'plain': values}))
        self.assert_wrote({'negated': -values, 'plain': values})

    def test_a_name_that_safetensors_keeps_is_refused(self):
        path = self.save({**weights(), '__metadata__': torch.ones(1)})
        self.assert_refused('a tensor named __metadata__', path, self.place / 'out.safetensors')

    def test_views_and_shared_memory(self):
        base = torch.arange(24.0).reshape(4, 6)
        content = {'whole': base, 'again': base, 'row': base[1], 'turned': base.t(), 'tied': torch.nn.Parameter(base),
                   'strided': torch.arange(10.0)[::2], 'end': torch.arange(100.0)[90:]}
        self.convert(self.save(content))
        self.assert_wrote(content)

    def test_an_older_out_is_replaced_by_a_readable_file(self):
        (self.place / 'out.safetensors').write_text('old')
        self.convert(self.save(weights()))
        self.assert_wrote(weights())
        self.assertEqual((self.place / 'out.safetensors').stat().st_mode & 0o444, 0o444)


class Refuses(Case):
    def test_a_pickle_that_would_run_a_command(self):
        for legacy in [False, True]:
            witness = self.place / 'witness'
            path = self.save({'model': weights(), 'extra': RunsACommand(witness)}, legacy=legacy)
            self.assert_refused(['in.pth needs posix.system to be run', 'can run any code', 'weights_only=False'],
                                path, self.place / 'out.safetensors', cwd=self.place)
            self.assertFalse(witness.exists())
            torch.load(path, weights_only=False)  # the file is what it is taken for
            self.assertTrue(witness.exists())
            witness.unlink()

    def test_objects_of_other_kinds(self):
        out = self.place / 'out.safetensors'
        self.assert_refused('torch.nn.modules.linear.Linear', self.save(torch.nn.Linear(2, 2)), out)
        self.assert_refused('multiarray.scalar', self.save({'model': weights(), 'best': numpy.float64(1)}), out)
        script = self.place / 'script.pt'
        torch.jit.script(torch.nn.Linear(2, 2)).save(script)
        self.assert_refused('TorchScript', script, out)

    def test_what_is_no_file_of_torch_save(self):
        out = self.place / 'out.safetensors'

        def file(name, content):
            (self.place / name).write_bytes(content)
            return self.place / name
        whole = self.save(weights()).read_bytes()
        legacy = self.save(weights(), legacy=True).read_bytes()
        self.assert_refused('page.pth is an HTML page', file('page.pth', b'\n<!DOCTYPE html><html>404</html>'), out)
        self.assert_refused('is empty', file('empty.pth', b''), out)
        self.assert_refused('neither a zip archive nor a pickle', file('text.pth', b'once upon a time'), out)
        self.assert_refused('Git LFS', file('lfs.pth', b'version https://git-lfs.github.com/spec/v1\noid sha256:00'), out)
        self.convert(self.save(weights()), name='there.safetensors')
        self.assert_refused('is a safetensors file already', self.place / 'there.safetensors', out)
        for size in [len(whole) - 1, len(whole) // 2, 64]:
            self.assert_refused('has lost its end', file('cut.pth', whole[:size]), out)
        flipped = bytearray(whole)
        at = whole.index(weights()['scalar'].numpy().tobytes())  # a weight's own byte
        flipped[at + 1] ^= 16
        self.assert_refused(['is damaged', 'has another checksum'], file('flipped.pth', bytes(flipped)), out)
        self.assert_refused('is no whole file of torch.save', file('cut.pth', legacy[:-7]), out)
        self.assert_refused('is no whole file of torch.save', file('pickle.pth', pickle.dumps([1, 2])), out)
        with zipfile.ZipFile(self.place / 'photos.pth', 'w') as archive:
            archive.writestr('a.txt', 'x')
        self.assert_refused('is no whole file of torch.save', self.place / 'photos.pth', out)

    def test_no_weights_inside(self):
        out = self.place / 'out.safetensors'
        self.assert_refused(['no state dict', 'epoch, args'], self.save({'epoch': 3, 'args': {}}), out)
        self.assert_refused('holds a list', self.save([torch.ones(2)]), out)
        self.assert_refused('holds a Tensor', self.save(torch.ones(2)), out)
        self.assert_refused('no weights there; it has them under: model',
                            self.save({'model': weights(), 'epoch': 3}), out, '--key', 'epoch')

    def test_dtypes_that_no_model_here_has(self):
        content = {'fine': torch.ones(1), 'twice': torch.ones(2).double(), 'mask': torch.ones(2).bool(),
                   'few': torch.eye(3).to_sparse()}
        self.assert_refused('twice (float64), mask (bool), few (float32, sparse)', self.save(content),
                            self.place / 'out.safetensors')

    def test_places(self):
        path, out = self.save(weights()), self.place / 'out.safetensors'
        before = path.read_bytes()
        (self.place / 'link.pth').symlink_to(path)
        self.assert_refused('OUT is IN', path, path)
        self.assert_refused('OUT is IN', path, self.place / 'link.pth')
        self.assertEqual(path.read_bytes(), before)
        self.assert_refused('nothing.pth does not exist', self.place / 'nothing.pth', out)
        self.assert_refused('is not a file', self.place, out)
        self.assert_refused('is a folder', path, self.place)
        self.assert_refused('nowhere does not exist', path, self.place / 'nowhere' / 'out.safetensors')
        self.assert_refused('arguments are required: OUT', path)
        out.write_text('the older one')
        self.assert_refused('exists already; --overwrite replaces it', path, out)
        self.assertEqual(out.read_text(), 'the older one')
        self.assert_refused('--kye', path, out, '--kye', 'model')

    def test_a_full_disk_leaves_nothing(self):
        path = self.save({'a': torch.randn(100_000)})
        out = self.place / 'out.safetensors'
        out.write_text('the older one')
        self.assert_refused(f"can't write {out}", path, out, '--overwrite', preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (100_000, 100_000)))
        self.assertEqual(out.read_text(), 'the older one')

    def test_a_python_without_torch_says_so(self):
        path, fake = self.save(weights()), self.place / 'fake'
        fake.mkdir()
        for module in ['torch', 'safetensors']:
            (fake / f'{module}.py').write_text(f'raise ImportError("no", name="{module}")')
            self.assert_refused(f'{module} is not installed; pip install', path, self.place / 'out.safetensors',
                                env={**os.environ, 'PYTHONPATH': str(fake), 'PYTHONDONTWRITEBYTECODE': '1'})
            (fake / f'{module}.py').unlink()

    def test_a_python_without_torch_takes_the_installed_one(self):
        bare = sys._base_executable  # that this one's environment was made from
        if subprocess.run([bare, '-c', 'import torch'], capture_output=True).returncode == 0:
            self.skipTest(f'{bare} has torch')
        out = self.place / 'out.safetensors'
        result = subprocess.run([bare, SCRIPT, self.save(weights()), out], capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        self.assert_wrote(weights())


if __name__ == '__main__':
    unittest.main()
