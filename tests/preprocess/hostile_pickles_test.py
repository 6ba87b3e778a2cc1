"""Malicious files of torch.save: python hostile_pickles_test.py SCRIPT"""
import os
import resource
import sys
import unittest
import zipfile

import torch

from pth_case import Case, weights


class RunsACommand:
    """Leaves a file behind if its pickle is loaded."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.system, (f'touch {self.witness}',)


class HostilePickles(Case):
    def test_a_pickle_that_would_run_a_command_is_refused(self):
        for legacy in [False, True]:
            witness = self.place / 'witness'
            path = self.save({'model': weights(), 'extra': RunsACommand(witness)}, legacy=legacy)
            self.assert_refused(['in.pth: it calls posix.system when torch opens it', 'nothing of it was run'],
                                path, self.place / 'out.safetensors', cwd=self.place)
            self.assertFalse(witness.exists())
            torch.load(path, weights_only=False)  # the file is really malicious
            self.assertTrue(witness.exists())
            witness.unlink()

    def test_calls_by_every_opcode_run_nothing(self):
        """Every opcode that calls, with harmless functions whose call would be visible."""
        witness = self.place / 'witness'
        name = repr(str(witness)).encode()
        attacks = [b"cos\nsystem\n(S'touch %s'\ntR." % name[1:-1], b"(S'touch %s'\nios\nsystem\n." % name[1:-1],
                   b"(cos\nsystem\nS'touch %s'\no." % name[1:-1], b'cpathlib\nPath.touch\n(S%s\ntR.' % name,
                   b'cio\nopen\n(S%s\nS\'w\'\ntR.' % name, b'c_io\nFileIO\n(S%s\nS\'w\'\ntR.' % name,
                   b'cbuiltins\ngetattr\n(cpathlib\nPath\nS\'touch\'\ntR(S%s\ntR.' % name,
                   b"cfunctools\npartial\n(cio\nopen\nS%s\nS'w'\ntR)R." % name,
                   b'\x80\x04\x8c\x02io\x8c\x04open\x93(S%s\nS\'w\'\ntR.' % name,
                   b'\x80\x02c_io\nFileIO\n(S%s\nS\'w\'\nt\x81.' % name,
                   b'ctorch._tensor\n_rebuild_from_type_v2\n(cio\nopen\nNS%s\nS\'w\'\n\x86}tR.' % name,
                   b'ctorch.hub\n_get_torch_home\n(tR.', b'ctorch._utils\n_rebuild_tensor_v2\n}b.',
                   b'ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.', b'cx\ny\n}S\'__setstate__\'\ncio\nopen\nsb.']
        for attack in attacks:
            with self.subTest(attack), zipfile.ZipFile(self.place / 'in.pth', 'w') as archive:
                archive.writestr('a/data.pkl', attack)
                archive.writestr('a/version', '3')
            before = set(sys.modules)
            result = self.run_script(self.place / 'in.pth', self.place / 'out.safetensors')
            self.assertEqual((result.returncode, result.stderr.count('\n')), (2, 1), result.stderr)
            self.assertFalse(witness.exists(), attack)
            self.assertFalse({'torch.hub', 'x'} & (set(sys.modules) - before))

    def test_a_pickle_of_large_numbers_takes_no_memory(self):
        for attack in [b'\x80\x02Nr\xff\xff\xff\xff.', b'\x80\x04\x8e' + b'\xff' * 8, b'\x80\x02\x8b\xff\xff\xff\x7f',
                       b'(' * 100_000 + b'.']:
            with zipfile.ZipFile(self.place / 'in.pth', 'w') as archive:
                archive.writestr('a/data.pkl', attack)
            self.assert_refused('in.pth', self.place / 'in.pth', self.place / 'out.safetensors',
                                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 ** 31, 2 ** 31)))

    def test_tensors_outside_of_their_storage_are_refused(self):
        path, out = self.save({'w': torch.arange(6.0).reshape(2, 3)}), self.place / 'out.safetensors'
        with zipfile.ZipFile(path) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        good = b'K\x00K\x02K\x03\x86'  # offset 0, shape (2, 3)
        self.assertIn(good, records['in/data.pkl'])
        for bad in [b'K\x01K\x02K\x03\x86', b'K\x00K\x02K\x04\x86', b'J\xff\xff\xff\xffK\x02K\x03\x86',
                    b'K\x00J\xff\xff\xff\x7fK\x03\x86', b'G?\xf0\0\0\0\0\0\0K\x02K\x03\x86']:
            with zipfile.ZipFile(path, 'w') as archive:
                for name, data in records.items():
                    archive.writestr(name, data.replace(good, bad))
            self.assert_refused('a tensor in it', path, out)


if __name__ == '__main__':
    unittest.main()
