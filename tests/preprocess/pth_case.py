"""Shared by the tests of pth_to_safetensors.py: weights, objects, and how the script is run and its result checked."""
import argparse
import collections
import contextlib
import datetime
import decimal
import enum
import fractions
import functools
import io
import os
import pathlib
import re
import runpy
import subprocess
import sys
import tempfile
import unittest
import uuid
import warnings
from unittest import mock

import numpy
import torch
from safetensors import safe_open

SCRIPT = str(pathlib.Path(sys.argv.pop(1)).resolve())
sys.path.insert(0, str(pathlib.Path(SCRIPT).parent))  # as Python does for a script that it starts


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return collections.OrderedDict(
        [('module.cls_token', torch.randn(1, 1, 8, generator=generator)),
         ('blocks.0.gamma_1', torch.randn(8, generator=generator).half()),
         ('blocks.0.attn.qkv.weight', torch.randn(24, 8, generator=generator).bfloat16()),
         ('index', torch.arange(5)), ('scalar', torch.tensor(3.5))])


class Settings(enum.Enum):
    GOOD = 1


class OwnOptions(dict):
    """Like EasyDict and the configurations of many projects."""
    __getattr__ = dict.get


def harmless_objects():
    return {'args': argparse.Namespace(output=pathlib.PosixPath('/runs/1'), data=pathlib.PureWindowsPath('C:/data')),
            'started': datetime.datetime(2024, 2, 3), 'took': datetime.timedelta(1), 'half': fractions.Fraction(1, 2),
            'counts': collections.Counter('abc'), 'table': collections.defaultdict(list, {'x': [1]}),
            'order': collections.OrderedDict(a=1), 'setting': Settings.GOOD, 'own': OwnOptions(a=OwnOptions(b=2)),
            'set': {1, 2}, 'frozen': frozenset([3]), 'bytes': b'x', 'array': bytearray(b'y'), 'number': 1j,
            'best': numpy.float64(0.5), 'history': numpy.arange(3), 'text': numpy.str_('x'), 'kind': numpy.dtype('f4'),
            'device': torch.device('cpu'), 'size': torch.Size([1]), 'dtype': torch.float16,
            'generator': torch.get_rng_state(), 'partial': functools.partial(int, base=2), 'function': os.path.join, 'class': OwnOptions,
            'range': range(3), 'uuid': uuid.UUID(int=5), 'decimal': decimal.Decimal('1.5'), 'regex': re.compile('a')}


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.place = pathlib.Path(self.folder.name)

    def save(self, content, name='in.pth', legacy=False, protocol=2):
        torch.save(content, self.place / name, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
        return self.place / name

    def run_script(self, *words, **how):
        """Runs the script in a separate process only if `how` has arguments for it: importing torch takes seconds."""
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

    def assert_refused(self, expected, *words, **how):
        before = sorted(self.place.iterdir())
        result = self.run_script(*words, **how)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stderr.count('\n'), 1, result.stderr)
        self.assertTrue(result.stderr.startswith('pth_to_safetensors.py: '), result.stderr)
        self.assertEqual(result.stdout, '')
        for part in [expected] if isinstance(expected, str) else expected:
            self.assertIn(part, result.stderr)
        self.assertEqual(sorted(self.place.iterdir()), before)
