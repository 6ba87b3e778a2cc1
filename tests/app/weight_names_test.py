"""Files of weights written by real libraries, wrapped and nested, are converted to timm's names bit for bit:

    python weight_names_test.py CONVERTER maskedkd_weights

Wrappers (torch.compile, DataParallel, DistributedDataParallel, averages, distillers, Lightning) with ways of saving.
MASKEDKD_WEIGHT_NAMES=all tries all combinations, a number so many; default: 16.
"""
import argparse
import collections
import copy
import datetime
import functools
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import pytorch_lightning
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.utils import CheckpointSaver, ModelEmaV2, ModelEmaV3
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

PROGRAM = str(pathlib.Path(sys.argv.pop(2)).resolve())
CONVERTER = str(pathlib.Path(sys.argv.pop(1)).resolve())
DEFAULT_COUNT = 16


@functools.cache
def first_model():
    return timm.create_model('deit_tiny_patch16_224', num_classes=10).half()


def model(seed):
    made = copy.deepcopy(first_model())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator))
    return made


class Holder(torch.nn.Module):
    """Modules under given names."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)


def compiled_blocks(vit):
    for i, block in enumerate(vit.blocks):
        vit.blocks[i] = torch.compile(block)
    return vit


def checkpointed_blocks(vit):
    block = timm.models.vision_transformer.Block
    apply_activation_checkpointing(vit, check_fn=lambda module: isinstance(module, block))
    return vit


def encoder_and_head(vit):
    head, vit.head = vit.head, torch.nn.Identity()
    return Holder(backbone=vit, head=head)


def ddp(module):
    return DistributedDataParallel(module)


# name: what wraps the model, all made by torch and timm
WRAPPERS = {
    'plain': lambda vit: vit,
    'compile': torch.compile,
    'DataParallel': torch.nn.DataParallel,
    'DDP': ddp,
    'compile(DDP)': lambda vit: torch.compile(ddp(vit)),
    'DDP(compile)': lambda vit: ddp(torch.compile(vit)),
    'DataParallel(compile)': lambda vit: torch.nn.DataParallel(torch.compile(vit)),
    'DDP(DDP)': lambda vit: ddp(ddp(vit)),
    'compiled blocks': compiled_blocks,
    'DDP(compiled blocks)': lambda vit: ddp(compiled_blocks(vit)),
    'checkpointed blocks': checkpointed_blocks,
    'DDP(checkpointed blocks)': lambda vit: ddp(checkpointed_blocks(vit)),
    'AveragedModel': AveragedModel,
    'AveragedModel(compile)': lambda vit: AveragedModel(torch.compile(vit)),
    'ModelEmaV2': ModelEmaV2,
    'ModelEmaV3': ModelEmaV3,
    'compile(ModelEmaV3)': lambda vit: torch.compile(ModelEmaV3(vit)),
    'model.': lambda vit: Holder(model=vit),
    'net.compile': lambda vit: Holder(net=torch.compile(vit)),
    'model beside a loss': lambda vit: Holder(model=vit, criterion=torch.nn.Linear(3, 2)),
    'encoder and head': encoder_and_head,
    'DDP(encoder and head)': lambda vit: ddp(encoder_and_head(vit)),
    'student and teacher': lambda vit: Holder(student=vit, teacher=model(9), projector=torch.nn.Linear(192, 384)),
    'DDP(student and teacher)': lambda vit: ddp(Holder(student=vit, teacher=model(9))),
    'compiled student, DDP teacher': lambda vit: Holder(student=torch.compile(vit), teacher=ddp(model(9))),
    'model and its average': lambda vit: Holder(model=vit, model_ema=AveragedModel(model(9))),
}


def options():
    return argparse.Namespace(model='deit_tiny_patch16_224', output_dir=pathlib.PosixPath('/runs/1'), started=datetime.datetime(2024, 2, 3), lr=1e-3,
                              table=collections.defaultdict(list, x=[1]), device=torch.device('cpu'))


def saved(content, **how):
    return lambda module, path: torch.save(content(module), path, **how)


def safetensors_file(module, path):
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, path)


def by_timm(module, path):
    torch.manual_seed(0)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    saver = CheckpointSaver(module, optimizer, args=options(), checkpoint_dir=path.parent, recovery_dir=path.parent)
    saver.unwrap_fn = lambda it: it  # keeps the names, as this test compares DDP's too
    saver._save(str(path), 3)


FORMS = {
    'state dict': saved(lambda it: it.state_dict()),
    'model': saved(lambda it: {'model': it.state_dict(), 'args': options(), 'epoch': 3}),
    'state_dict': saved(lambda it: {'state_dict': it.state_dict(), 'hyper_parameters': vars(options())}),
    'model and average': saved(lambda it: {'model': it.state_dict(), 'model_ema': model(8).state_dict()}),
    'student and teacher': saved(lambda it: {'teacher': model(8).state_dict(), 'student': it.state_dict()}),
    'nested': saved(lambda it: {'model': {'state_dict': it.state_dict()}, 'args': options()}),
    'unknown entry': saved(lambda it: {'our_network': it.state_dict(), 'args': options()}),
    'legacy': saved(lambda it: {'model': it.state_dict(), 'args': options()}, _use_new_zipfile_serialization=False),
    'protocol 4': saved(lambda it: {'model': it.state_dict(), 'args': options()}, pickle_protocol=4),
    'timm': by_timm,
    'safetensors': safetensors_file,
}


def lightning_cases():
    class Module(pytorch_lightning.LightningModule):
        def __init__(self, output=None, **modules):
            super().__init__()
            self.save_hyperparameters('output')
            for name, module in modules.items():
                setattr(self, name, module)

    def save(module, path):
        trainer = pytorch_lightning.Trainer(accelerator='cpu', logger=False, enable_checkpointing=False,
                                            enable_progress_bar=False, enable_model_summary=False)
        trainer.strategy.connect(module)
        trainer.save_checkpoint(path)
    wraps = {'model': lambda vit: {'model': vit}, 'net': lambda vit: {'net': vit}, 'student': lambda vit: {
        'student': vit, 'teacher': model(9)}, 'compiled': lambda vit: {'model': torch.compile(vit)},
             'average': lambda vit: {'model': vit, 'ema': AveragedModel(model(9))},
             'compiled student': lambda vit: {'student': torch.compile(vit), 'teacher': model(9)}}
    return {f'Lightning, {name}': ((lambda vit, make=make: Module(output=pathlib.PosixPath('/x'), **make(vit))), save)
            for name, make in wraps.items()}


def all_cases():
    cases = {f'{wrapper}, saved as {form}': (wrap, save) for wrapper, wrap in WRAPPERS.items()
             for form, save in FORMS.items()}
    return {**cases, **lightning_cases()}


def chosen_cases():
    cases, wish = list(all_cases().items()), os.environ.get('MASKEDKD_WEIGHT_NAMES', str(DEFAULT_COUNT))
    count = len(cases) if wish == 'all' else min(int(wish), len(cases))
    return [cases[i * len(cases) // count] for i in range(count)]


class WeightNames(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.place = pathlib.Path(cls.folder.name)
        torch.distributed.init_process_group('gloo', store=torch.distributed.HashStore(), rank=0, world_size=1)
        cls.addClassCleanup(torch.distributed.destroy_process_group)

    def call(self, *command):
        result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result.stdout

    def convert(self, path, *more):
        """Converts as a user does: a pickle to safetensors, then to timm's names."""
        out = self.place / 'out.safetensors'
        if not path.name.endswith('.safetensors'):
            taken = self.place / 'taken.safetensors'
            self.call(sys.executable, CONVERTER, path, taken, '--overwrite')
            path = taken
        output = self.call(PROGRAM, 'convert', path, out, '--to', 'timm', '--overwrite', *more)
        return load_file(out), output

    def assert_same(self, expected, found):
        self.assertEqual(sorted(expected), sorted(found))
        for name, value in expected.items():
            self.assertEqual(value.dtype, found[name].dtype, name)
            self.assertTrue(torch.equal(value, found[name]), name)

    def test_wrappers_and_forms_give_the_plain_state_dict(self):
        cases = chosen_cases()
        for name, (wrap, save) in cases:
            with self.subTest(name):
                expected = {key: value.clone() for key, value in model(1).state_dict().items()}
                path = self.place / ('in.safetensors' if save is safetensors_file else 'in.pth')
                save(wrap(model(1)), path)
                found, output = self.convert(path)
                self.assert_same(expected, found)
                if 'teacher' in output:
                    teacher, _ = self.convert(path, '--prefix', output.partition("model under '")[2].partition("'")[0])
                    self.assert_same(model(9).state_dict(), teacher)
        print(f'{len(cases)} of {len(all_cases())} files of weights')


if __name__ == '__main__':
    unittest.main()
