#!/usr/bin/env python3
"""Takes the weights out of a .pth file (torch.save) into a safetensors file, which maskedkd's programs read.

  pth_to_safetensors.py IN OUT [--key NAME] [--overwrite]

Names, values and dtypes stay as they are. A .pth is a pickle, which can run any code: only what torch.load allows with
weights_only=True is read, and argparse.Namespace, plain options that DeiT's and MAE's checkpoints hold. Needs torch
(2.4 or newer) and safetensors.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import warnings
import zipfile

# Where training scripts keep the weights, in the order of preference; without one of them, the file itself.
KEYS = ['model', 'state_dict', 'model_ema', 'state_dict_ema', 'module']


class Refused(Exception):
    """What is said in one line, with exit code 2."""


class Arguments(argparse.ArgumentParser):
    def error(self, message):
        raise Refused(f'{message}; see {self.prog} --help')


def arguments():
    parser = Arguments(description=__doc__.partition('\n')[0],
                       epilog='Only what torch.load(weights_only=True) allows is read, and argparse.Namespace.')
    parser.add_argument('IN', help='file of torch.save: weights, or a training checkpoint')
    parser.add_argument('OUT', help='safetensors file to write')
    parser.add_argument('--key', metavar='NAME', help=f'entry of IN with the weights; else the first of {", ".join(KEYS)}, '
                        'or IN itself')
    parser.add_argument('--overwrite', action='store_true', help='replace OUT where it exists')
    return parser.parse_args()


def check_places(source, target, overwrite):
    if not os.path.exists(source):
        raise Refused(f'{source} does not exist')
    if not os.path.isfile(source):
        raise Refused(f'{source} is not a file')
    if os.path.isdir(target):
        raise Refused(f'{target} is a folder; name the file')
    if os.path.exists(target) and os.path.samefile(source, target):
        raise Refused(f'OUT is IN, {source}; choose another name')
    if os.path.exists(target) and not overwrite:
        raise Refused(f'{target} exists already; --overwrite replaces it')
    folder = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(folder):
        raise Refused(f'the folder {folder} does not exist')


def check_beginning(source):
    """What is no file of torch.save at all says so by its first bytes."""
    with open(source, 'rb') as file:
        start = file.read(512)
    text = start.lstrip().lower()
    if not start:
        raise Refused(f'{source} is empty')
    if text.startswith((b'<!doctype', b'<html', b'<?xml')):
        raise Refused(f'{source} is an HTML page, not weights; download the file itself')
    if text.startswith(b'version https://git-lfs'):
        raise Refused(f'{source} is a pointer of Git LFS, not the weights; fetch them with git lfs pull')
    if start[8:9] == b'{' and int.from_bytes(start[:8], 'little') < os.path.getsize(source):
        raise Refused(f'{source} is a safetensors file already')
    if not start.startswith((b'PK\x03\x04', b'\x80')):
        raise Refused(f'{source} is no file of torch.save: neither a zip archive nor a pickle')


def check_archive(source):
    """torch.load maps the file and reads no checksum: a flipped bit would become a weight."""
    with open(source, 'rb') as file:
        if file.read(4) != b'PK\x03\x04':
            return  # the format from before torch 1.6 has none
    if not zipfile.is_zipfile(source):
        raise Refused(f'{source} has lost its end; is it still being written or copied?')
    try:
        with zipfile.ZipFile(source) as archive:
            damaged = archive.testzip()
    except Exception as error:  # of many kinds, by what is damaged
        raise Refused(f'{source} is damaged: {error}; copy it again') from None
    if damaged:
        raise Refused(f'{source} is damaged: {damaged} in it has another checksum; copy it again')


def load(torch, source):
    torch.serialization.add_safe_globals([argparse.Namespace])  # holds values, runs nothing
    try:
        return torch.load(source, map_location='cpu', weights_only=True, mmap=zipfile.is_zipfile(source))
    except Exception as error:  # of many kinds, by version and damage
        needed = re.search(r'GLOBAL ([\w.]+)', str(error))
        if needed:
            raise Refused(f'{source} needs {needed[1]} to be run, which is refused, as a pickle can run any code; where '
                          'you trust its origin, open it yourself with torch.load(..., weights_only=False) and '
                          'torch.save its state dict alone') from None
        if 'TorchScript' in str(error):
            raise Refused(f'{source} is a TorchScript archive, a program; torch.save its state_dict() instead') from None
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition('. ')[0]
        if reason == 'Weights only load failed':
            reason = 'its pickle is none of torch.save'
        raise Refused(f'{source} is no whole file of torch.save: {reason}') from None


def find_weights(torch, content, source, key):
    """(where they were: a key or '', {name: tensor}, other keys that hold weights too, what is left out)"""
    def has_tensors(value):
        return isinstance(value, dict) and any(isinstance(it, torch.Tensor) for it in value.values())

    if isinstance(content, torch.nn.Module) or not isinstance(content, dict):
        raise Refused(f'{source} holds a {type(content).__name__}, no state dict')
    there = [name for name, value in content.items() if isinstance(name, str) and has_tensors(value)]
    if key is not None and key not in there:
        raise Refused(f'--key {key}: {source} has no weights there; it has them under: {", ".join(there) or "no key"}')
    taken = key if key is not None else next((known for known in KEYS if known in there), '')
    chosen = content[taken] if taken else content
    weights, left_out = {}, []
    for name, value in chosen.items():
        if name == '__metadata__':
            raise Refused(f'{source} has a tensor named __metadata__, which a safetensors file keeps for itself')
        if isinstance(name, str) and isinstance(value, torch.Tensor):
            weights[name] = value
        else:
            left_out.append(f'{name} ({type(value).__name__})')
    if not weights:
        listed = ', '.join(str(name) for name in content) or 'nothing'
        raise Refused(f'{source} holds no state dict at its top or under {", ".join(KEYS)}; it holds: {listed[:300]}')
    return taken, weights, [name for name in there if name != taken], left_out


def ready_to_write(torch, weights):
    """Contiguous, each with memory of its own, as the format wants them."""
    allowed = {torch.float32, torch.bfloat16, torch.float16, torch.int64}
    wrong = [f'{name} ({str(it.dtype).removeprefix("torch.")}{"" if it.layout == torch.strided else ", sparse"})'
             for name, it in weights.items() if it.dtype not in allowed or it.layout != torch.strided]
    if wrong:
        raise Refused(f'not float32, bfloat16, float16 or int64: {", ".join(wrong[:8])}'
                      f'{f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""}')
    ready, storages = {}, set()
    for name, tensor in weights.items():
        tensor = tensor.detach().resolve_neg()  # which a view may have put off
        storage = tensor.untyped_storage().data_ptr()
        ready[name] = tensor.clone(memory_format=torch.contiguous_format) if storage in storages else tensor.contiguous()
        storages.add(storage)
    return ready


def write(save_file, tensors, target):
    """Under a temporary name first: OUT appears whole or not at all."""
    folder, name = os.path.split(os.path.abspath(target))
    temporary = os.path.join(folder, f'.tmp-{name}-{os.getpid()}')
    try:
        save_file(tensors, temporary, metadata={'format': 'pt'})
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except Exception as error:
        raise Refused(f"can't write {target}: {str(error).splitlines()[0]}") from None
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def run_with_installed_python():
    """Where this Python lacks torch, the one that env/install.sh set up has it."""
    paths = pathlib.Path(__file__).resolve().parent.parent / 'env' / 'paths.sh'
    found = subprocess.run(['bash', '-c', '. "$1" && printf %s "$MASKEDKD_VENV"', 'bash', paths], capture_output=True,
                           text=True)
    python = os.path.join(found.stdout, 'bin', 'python')
    if found.returncode == 0 and os.access(python, os.X_OK) and not os.path.samefile(sys.prefix, found.stdout):
        os.execv(python, [python, *sys.argv])


def main():
    given = arguments()
    check_places(given.IN, given.OUT, given.overwrite)
    check_beginning(given.IN)
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        run_with_installed_python()
        raise Refused(f'{error.name or error} is not installed; pip install torch safetensors') from None
    if not hasattr(torch.serialization, 'add_safe_globals'):
        raise Refused(f'torch {torch.__version__} is too old; pip install "torch>=2.4"')
    check_archive(given.IN)
    taken, weights, others, left_out = find_weights(torch, load(torch, given.IN), given.IN, given.key)
    tensors = ready_to_write(torch, weights)
    write(save_file, tensors, given.OUT)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    place = f"'{taken}' of {given.IN}" if taken else given.IN
    print(f'{given.OUT}: {len(tensors)} tensors, {size / 1e6:.1f} MB, from {place}')
    if others:
        print(f'there are weights in it too under: {", ".join(others)} (--key takes them)')
    if left_out:
        print(f'left out, no tensors: {", ".join(left_out)}')


if __name__ == '__main__':
    warnings.simplefilter('ignore')  # torch's, about how it is used
    try:
        main()
    except (Refused, OSError) as refusal:
        print(f'pth_to_safetensors.py: {refusal}', file=sys.stderr)
        sys.exit(2)
