"""Files of torch.save as Meta, MAE and timm write them, and other files: python pth_to_safetensors_test.py SCRIPT"""
import argparse
import errno
import os
import pickle
import resource
import subprocess
import sys
import tarfile
import types
import unittest
import zipfile
from unittest import mock

import numpy
import torch

from pth_case import Case, SCRIPT, OwnOptions, harmless_objects, weights


class Reads(Case):
    def test_weights_in_both_formats_and_under_every_key_are_found(self):
        for legacy in [False, True]:
            for key in ['', 'model', 'state_dict', 'model_ema', 'state_dict_ema', 'module']:
                with self.subTest(key=key, legacy=legacy):
                    output = self.convert(self.save({key: weights(), 'epoch': 3} if key else weights(), legacy=legacy))
                    self.assert_wrote(weights())
                    self.assertIn(f"'{key}' of" if key else 'in.pth', output)

    def test_a_training_checkpoint_of_mae_is_read(self):
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
        output = self.convert(path)
        self.assertIn("'state_dict' of", output)
        self.assertIn('state_dict_ema (--key', output)
        self.assert_wrote(weights(1))
        self.assertIn("'state_dict_ema' of", self.convert(path, '--key', 'state_dict_ema'))
        self.assert_wrote(weights(2))

    def test_other_objects_are_named_and_left_out(self):
        output = self.convert(self.save({**weights(), 'epoch': 3, 'note': 'text', 'more': {'inner': torch.ones(1)}}))
        self.assertIn('epoch (int), note (str), more (dict)', output)
        self.assert_wrote(weights())

    def test_lazily_negated_tensors_are_resolved(self):
        for dtype in [torch.float32, torch.bfloat16, torch.float16, torch.int64]:
            values = torch.arange(1.0, 9.0).to(dtype)
            self.convert(self.save({'negated': torch._neg_view(values), 'plain': values}))
            self.assert_wrote({'negated': -values, 'plain': values})

    def test_objects_in_a_checkpoint_are_ignored(self):
        for protocol in [2, 3, 4, 5]:
            for legacy in [False, True]:
                with self.subTest(protocol=protocol, legacy=legacy):
                    content = {'model': weights(), 'epoch': 3, **harmless_objects()}
                    self.convert(self.save(content, legacy=legacy, protocol=protocol))
                    self.assert_wrote(weights())

    def test_missing_classes_are_not_imported(self):
        module = types.ModuleType('private_project.options')
        exec('class Options:\n    pass', module.__dict__)
        with mock.patch.dict(sys.modules, {'private_project.options': module, 'private_project': module}):
            path = self.save({'model': weights(), 'args': module.Options()})
        self.assertNotIn('private_project', sys.modules)
        self.convert(path)
        self.assert_wrote(weights())

    def test_a_whole_module_gives_its_state_dict(self):
        model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
        model.register_buffer('passing', torch.ones(1), persistent=False)
        model.tied = model[0]
        for legacy in [False, True]:
            for content in [model, {'model': model, 'epoch': 1}]:
                self.convert(self.save(content, legacy=legacy))
                self.assert_wrote(model.state_dict())

    def test_nested_weights_are_found(self):
        output = self.convert(self.save({'model': {'epoch': 1, 'state_dict': weights(1)}, 'ema': {'module': weights(2)}}))
        self.assertIn("'model.state_dict' of", output)
        self.assertIn('ema.module (--key', output)
        self.assert_wrote(weights(1))
        self.convert(self.place / 'in.pth', '--key', 'ema.module')
        self.assert_wrote(weights(2))
        self.convert(self.save({'our_net': OwnOptions(weights(3)), 'epoch': 1}))  # the only entry with tensors
        self.assert_wrote(weights(3))

    def test_unsupported_tensors_are_left_out(self):
        content = {'fine': torch.ones(1), 'twice': torch.ones(2).double(), 'mask': torch.ones(2).bool(),
                   'few': torch.eye(3).to_sparse(), 'short': torch.ones(2).short(), 'complex': torch.ones(1).cfloat(),
                   'eight': torch.ones(2).to(torch.float8_e4m3fn), 'quantised': torch.quantize_per_tensor(
                       torch.ones(2), 1.0, 0, torch.qint8), 'int': torch.ones(2).int(), 'byte': torch.ones(2).byte()}
        for legacy in [False, True]:
            output = self.convert(self.save(content, legacy=legacy))
            self.assertIn('left out: few (sparse tensor), short (int16 tensor), complex (complex64 tensor), '
                          'eight (float8_e4m3fn tensor), quantised (qtensor)', output)
            self.assert_wrote({name: content[name] for name in ['fine', 'twice', 'mask', 'int', 'byte']})

    def test_a_file_without_checksums_is_read(self):
        torch.serialization.set_crc32_options(False)
        self.addCleanup(torch.serialization.set_crc32_options, True)
        self.convert(self.save(weights()))
        self.assert_wrote(weights())

    def test_files_of_several_storages_are_read(self):
        content = {str(i): torch.randn(i * 999 + 1, generator=torch.Generator().manual_seed(i)) for i in range(12)}
        content |= {'expanded': torch.ones(1).expand(5, 1000), 'none': torch.empty(0, 3), 'part': content['11'][5:9]}
        for legacy in [False, True]:
            self.convert(self.save(content, legacy=legacy))
            self.assert_wrote(content)

    def test_a_name_reserved_by_safetensors_is_refused(self):
        path = self.save({**weights(), '__metadata__': torch.ones(1)})
        self.assert_refused('a tensor named __metadata__', path, self.place / 'out.safetensors')

    def test_views_and_shared_memory_are_copied(self):
        base = torch.arange(24.0).reshape(4, 6)
        content = {'whole': base, 'again': base, 'row': base[1], 'turned': base.t(), 'tied': torch.nn.Parameter(base),
                   'strided': torch.arange(10.0)[::2], 'end': torch.arange(100.0)[90:]}
        self.convert(self.save(content))
        self.assert_wrote(content)

    def test_an_existing_output_is_replaced_by_a_readable_file(self):
        (self.place / 'out.safetensors').write_text('old')
        self.convert(self.save(weights()))
        self.assert_wrote(weights())

    def test_a_file_system_without_sync_is_no_error_but_a_full_one_is(self):
        path = self.save(weights())
        for code in [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, 524]:
            with mock.patch('os.fsync', side_effect=OSError(code, 'no')):
                self.convert(path)
            self.assert_wrote(weights())
        for code in [errno.ENOSPC, errno.EIO, errno.EDQUOT]:
            with mock.patch('os.fsync', side_effect=OSError(code, os.strerror(code))):
                self.assert_refused(os.strerror(code), path, self.place / 'other.safetensors')

    def test_the_umask_decides_the_permissions(self):
        path, before = self.save(weights()), os.umask(0)
        self.addCleanup(os.umask, before)
        for mask in [0o022, 0o027, 0o077, 0o002, 0]:
            os.umask(mask)
            (self.place / 'touched').touch()
            self.convert(path)
            mode = (self.place / 'out.safetensors').stat().st_mode
            self.assertEqual(oct(mode), oct((self.place / 'touched').stat().st_mode))
            (self.place / 'touched').unlink()


class Refuses(Case):
    def test_formats_of_other_libraries_are_named(self):
        out = self.place / 'out.safetensors'
        script = self.place / 'script.pt'
        torch.jit.script(torch.nn.Linear(2, 2)).save(script)
        self.assert_refused('TorchScript', script, out)
        numpy.savez(self.place / 'vit.npz', **{'Transformer/encoder_norm/scale': numpy.ones(2)})
        self.assert_refused(['is a NumPy archive (.npz)', 'timm.create_model'], self.place / 'vit.npz', out)
        for name, content, expected in [('a.h5', b'\x89HDF\r\n\x1a\n', 'HDF5'), ('a.onnx', b'\x08\x08', 'an ONNX file'),
                                    ('a.msgpack', b'\x81\xa6', 'a Flax file'), ('a.gguf', b'GGUF\x03', 'a GGUF file'),
                                    ('a.npy', b'\x93NUMPY\x01', 'a NumPy array'), ('a.gz', b'\x1f\x8b\x08', 'gzip'),
                                    ('pytorch_model.bin.index.json', b'{"metadata": {}}', 'JSON'),
                                    ('model.ckpt-0.index', b'\0\0\1', 'TensorFlow')]:
            (self.place / name).write_bytes(content)
            self.assert_refused([expected, name], self.place / name, out)
        with tarfile.open(self.place / 'a.tar', 'w') as archive:
            archive.add(self.place / 'a.h5')
        self.assert_refused('a tar archive', self.place / 'a.tar', out)
        folder = self.place / 'hub'
        folder.mkdir()
        (folder / 'pytorch_model.bin').write_bytes(b'')
        self.assert_refused('name the file in it: pytorch_model.bin', folder, out)
        (folder / 'model.safetensors').write_bytes(b'')
        self.assert_refused('model.safetensors as it is', folder, out)

    def test_files_of_other_kinds_are_named(self):
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
        at = whole.index(weights()['scalar'].numpy().tobytes())  # a byte of a weight
        flipped[at + 1] ^= 16
        self.assert_refused(['is damaged', 'has another checksum'], file('flipped.pth', bytes(flipped)), out)
        self.assert_refused('is no whole file of torch.save', file('cut.pth', legacy[:-7]), out)
        self.assert_refused('is no whole file of torch.save', file('pickle.pth', pickle.dumps([1, 2])), out)
        with zipfile.ZipFile(self.place / 'photos.pth', 'w') as archive:
            archive.writestr('a.txt', 'x')
        self.assert_refused('none of torch.save: it holds a.txt', self.place / 'photos.pth', out)

    def test_files_without_weights_are_refused(self):
        out = self.place / 'out.safetensors'
        self.assert_refused(['no state dict', 'epoch, args'], self.save({'epoch': 3, 'args': {}}), out)
        self.assert_refused('holds a list', self.save([torch.ones(2)]), out)
        self.assert_refused('holds a float32 tensor', self.save(torch.ones(2)), out)
        self.assert_refused('no weights there; it has them under: model',
                            self.save({'model': weights(), 'epoch': 3}), out, '--key', 'epoch')

    def test_files_with_only_unsupported_dtypes_are_refused(self):
        self.assert_refused('short (int16 tensor), few (sparse tensor)',
                            self.save({'model': {'short': torch.ones(2).short(), 'few': torch.eye(3).to_sparse()}}),
                            self.place / 'out.safetensors')

    def test_wrong_paths_and_flags_are_refused(self):
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

    def test_a_full_disk_leaves_no_file(self):
        path = self.save({'a': torch.randn(100_000)})
        out = self.place / 'out.safetensors'
        out.write_text('the older one')
        self.assert_refused(f"can't write {out}", path, out, '--overwrite', preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (100_000, 100_000)))
        self.assertEqual(out.read_text(), 'the older one')

    def test_a_python_without_numpy_reports_it(self):
        path, fake = self.save(weights()), self.place / 'fake'
        fake.mkdir()
        (fake / 'numpy.py').write_text('raise ImportError("no", name="numpy")')
        self.assert_refused('numpy is not installed; pip install numpy', path, self.place / 'out.safetensors',
                            env={**os.environ, 'PYTHONPATH': str(fake), 'PYTHONDONTWRITEBYTECODE': '1'})

    def test_torch_and_safetensors_are_not_needed(self):
        path, fake = self.save(weights()), self.place / 'fake'
        fake.mkdir()
        for module in ['torch', 'safetensors']:
            (fake / f'{module}.py').write_text('raise ImportError("no")')
        result = self.run_script(path, self.place / 'out.safetensors',
                                 env={**os.environ, 'PYTHONPATH': str(fake), 'PYTHONDONTWRITEBYTECODE': '1'})
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        self.assert_wrote(weights())

    def test_a_python_without_numpy_uses_the_installed_environment(self):
        bare = sys._base_executable  # of which this virtual environment was made
        if subprocess.run([bare, '-c', 'import numpy'], capture_output=True).returncode == 0:
            self.skipTest(f'{bare} has numpy')
        out = self.place / 'out.safetensors'
        result = subprocess.run([bare, SCRIPT, self.save(weights()), out], capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        self.assert_wrote(weights())


if __name__ == '__main__':
    unittest.main()
