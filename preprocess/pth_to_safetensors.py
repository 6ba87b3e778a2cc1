#!/usr/bin/env python3
"""Converts the weights in a .pth file (torch.save) to a safetensors file, which maskedkd's programs read.

  pth_to_safetensors.py IN OUT [--key NAME] [--overwrite]

Names, values and dtypes stay unchanged. A .pth file is a pickle, which can run any code: here none of it is run, and
only the tensors in it are built (by torch_file.py in the same folder). Needs NumPy, but not torch.
"""
import argparse
import errno
import json
import os
import pathlib
import struct
import subprocess
import sys

from torch_file import ITEM_BYTES, SAFETENSORS_DTYPES, Placeholder, Refused, Tensor, TorchFile

# Entries in which training scripts store the weights, in order of preference; without any of them, the top level.
KEYS = ['model', 'state_dict', 'model_state_dict', 'module', 'student', 'net', 'network', 'weights', 'params',
        'model_ema', 'state_dict_ema', 'ema_state_dict', 'ema', 'teacher']
DEEPEST = 4  # levels of nested dicts
SHOWN = 8


def arguments():
    class Arguments(argparse.ArgumentParser):
        def error(self, message):
            raise Refused(f'{message}; see {self.prog} --help')

    parser = Arguments(description=__doc__.partition('\n')[0],
                       epilog='No code in IN is run, and only its tensors are built.')
    parser.add_argument('IN', help='file of torch.save: weights, a training checkpoint, or a whole model')
    parser.add_argument('OUT', help='safetensors file to write')
    parser.add_argument('--key', metavar='NAME', help='entry of IN with the weights (ema.module: module in ema); else '
                        f'the first of {", ".join(KEYS)}, or IN itself')
    parser.add_argument('--overwrite', action='store_true', help='replace OUT where it exists')
    return parser.parse_args()


def check_places(source, target, overwrite):
    if not os.path.exists(source):
        raise Refused(f'{source} does not exist')
    if os.path.isdir(source):
        raise Refused(f'{source} is not a file{content_of_folder(source)}')
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


def content_of_folder(folder):
    """Advice about a folder that a library wrote as a checkpoint, to follow "is not a file"."""
    names = sorted(os.listdir(folder))
    if '.metadata' in names:
        return (' but a distributed checkpoint of PyTorch; make a file of it: python3 -m '
                f'torch.distributed.checkpoint.format_utils dcp_to_torch {folder} OUT.pth')
    if 'model.safetensors' in names:
        return f"; the programs read {os.path.join(folder, 'model.safetensors')} as it is"
    if 'saved_model.pb' in names:
        return ' but a SavedModel of TensorFlow, which is not read; get the weights as PyTorch or safetensors file'
    weights = [name for name in names if name.endswith(('.pth', '.pt', '.bin', '.ckpt'))]
    if weights:
        return f'; name the file in it: {", ".join(weights[:SHOWN])}'
    return ''


NOT_READ = 'which is not read; get the weights as a PyTorch or safetensors file'
FOREIGN = [(b'version https://git-lfs', 'a pointer of Git LFS, not the weights; fetch them with git lfs pull'),
           (b'\x89HDF\r\n\x1a\n', f'an HDF5 file, as Keras and TensorFlow write weights, {NOT_READ}'),
           (b'GGUF', f'a GGUF file, {NOT_READ}'),
           (b'\x1f\x8b', 'a gzip archive; unpack it first: gzip -d or tar -xzf'),
           (b'\x93NUMPY', 'a NumPy array (.npy), not the weights of a model')]
FOREIGN_ENDINGS = {'.onnx': f'an ONNX file, {NOT_READ}', '.msgpack': f'a Flax file, {NOT_READ}',
                   '.tflite': f'a TensorFlow Lite file, {NOT_READ}',
                   '.index': f'the index of a TensorFlow checkpoint, {NOT_READ}',
                   '.distcp': 'a part of a distributed checkpoint of PyTorch; make a file of its folder: python3 -m '
                              'torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER OUT.pth'}


def check_beginning(source):
    """Refuses files that were not written by torch.save, by their first bytes or their names."""
    with open(source, 'rb') as file:
        start = file.read(512)
    text = start.lstrip().lower()
    if not start:
        raise Refused(f'{source} is empty')
    if text.startswith((b'<!doctype', b'<html', b'<?xml')):
        raise Refused(f'{source} is an HTML page, not weights; download the file itself')
    for begins, what in FOREIGN:
        if start.startswith(begins):
            raise Refused(f'{source} is {what}')
    if start[8:9] == b'{' and int.from_bytes(start[:8], 'little') < os.path.getsize(source):
        raise Refused(f'{source} is a safetensors file already, which the programs read as it is')
    if text.startswith(b'{'):
        raise Refused(f'{source} is JSON text, as the index of weights in several files is; name a file of weights')
    if start[257:262] == b'ustar':
        raise Refused(f'{source} is a tar archive; unpack it and name the file of the weights (where torch before '
                      '0.1.10 wrote it, load it in torch and torch.save it again)')
    if not start.startswith((b'PK\x03\x04', b'\x80')):
        what = FOREIGN_ENDINGS.get(pathlib.Path(source).suffix.lower())
        raise Refused(f'{source} is {what or "no file of torch.save: neither a zip archive nor a pickle"}')


def listed(names):
    names = [str(name) or 'the top' for name in names]
    return ', '.join(names[:SHOWN]) + (f' and {len(names) - SHOWN} more' if len(names) > SHOWN else '')


class Content:
    """Finds the weights in the content of a file."""

    def __init__(self, file):
        self.file, self.places, self.seen = file, {}, set()
        self.collect('', file.content)

    def entries(self, value):
        """{name: value} of a dict of any type, or of the state_dict() of a module; else nothing."""
        if isinstance(value, dict):
            return value
        if not isinstance(value, Placeholder):
            return {}
        return value.items or self.of_module(value, 0)

    def of_module(self, module, depth):
        state, found = module.state, {}
        inner = state.get('_modules')
        if inner is None or depth > 64:
            return found
        skipped = state.get('_non_persistent_buffers_set')
        for kind in ['_parameters', '_buffers']:
            for name, value in self.entries(state.get(kind)).items():
                if isinstance(value, Tensor) and not (isinstance(skipped, set) and name in skipped):
                    found[str(name)] = value
        for name, child in self.entries(inner).items():
            if isinstance(child, Placeholder):
                found.update((f'{name}.{key}', value) for key, value in self.of_module(child, depth + 1).items())
        return found

    def collect(self, path, value, depth=0):
        entries = self.entries(value)
        if id(value) in self.seen or depth > DEEPEST:
            return
        self.seen.add(id(value))
        if any(isinstance(it, Tensor) for it in entries.values()):
            self.places[path] = entries
        for name, inner in entries.items():
            if isinstance(name, str) and not name.startswith('optim'):  # an optimizer's state has tensors too
                self.collect(f'{path}.{name}' if path else name, inner, depth + 1)

    def choose(self, key):
        if key is not None:
            if key not in self.places:
                raise Refused(f'--key {key}: {self.file.path} has no weights there; it has them under: '
                              f'{listed(filter(None, self.places)) or "no key"}')
            return key
        for known in KEYS:
            under = [path for path in self.places if path.split('.')[0] == known]
            if under:
                return min(under, key=lambda path: (path.count('.'), path.split('.')[-1] not in KEYS))
        if '' in self.places:
            return ''
        if len(self.places) == 1:
            return next(iter(self.places))
        raise Refused(self.nothing())

    def nothing(self):
        if self.places:
            return f'{self.file.path} has weights under {listed(self.places)}; choose with --key'
        content = self.file.content
        if not self.entries(content):
            return f'{self.file.path} holds a {kind_of(content)}, no state dict'
        names = ', '.join(str(name) for name in self.entries(content)) or 'nothing'
        return f'{self.file.path} holds no state dict at its top or in an entry; it holds: {names[:300]}'

    def weights(self, taken):
        """{name: tensor}, and a list of the entries that are left out."""
        found, left_out = {}, []
        for name, value in self.places[taken].items():
            if name == '__metadata__':
                raise Refused(f'{self.file.path} has a tensor named __metadata__, which a safetensors file keeps for '
                              'itself')
            if isinstance(name, str) and isinstance(value, Tensor) and value.dtype in SAFETENSORS_DTYPES:
                found[name] = value
            else:
                left_out.append(f'{name} ({kind_of(value)})')
        if not found:
            raise Refused(f'{self.file.path} has no tensor of {", ".join(SAFETENSORS_DTYPES)}: {listed(left_out)}')
        return found, left_out


def kind_of(value):
    if isinstance(value, Tensor):
        return f'{value.dtype} tensor'.lstrip()
    if isinstance(value, Placeholder):
        return value.origin.rpartition('.')[2].removeprefix('_rebuild_').replace('_', ' ') or 'object'
    return type(value).__name__


def header_of(weights):
    """The bytes of the header, and the names in the order of their data."""
    # The largest dtypes first, so that all data are aligned, as the writer of the safetensors library does it.
    names = sorted(weights, key=lambda name: -ITEM_BYTES[weights[name].dtype])
    header, end = {'__metadata__': {'format': 'pt'}}, 0
    for name in names:
        tensor = weights[name]
        begin, end = end, end + num_bytes(tensor)
        header[name] = {'dtype': SAFETENSORS_DTYPES[tensor.dtype], 'shape': tensor.shape, 'data_offsets': [begin, end]}
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    return struct.pack('<Q', len(text)) + text, names


def num_bytes(tensor):
    return tensor.num_elements * ITEM_BYTES[tensor.dtype]


def write(file, weights, target):
    """Writes a temporary file and renames it: OUT is complete or absent. Its permissions follow the umask."""
    header, names = header_of(weights)
    folder, name = os.path.split(os.path.abspath(target))
    temporary = os.path.join(folder, f'.tmp-{name}-{os.getpid()}')
    try:
        with open(temporary, 'wb') as out:
            out.write(header)
            for name in names:
                out.write(file.values(weights[name]))
            out.flush()
            sync(out)
        os.replace(temporary, target)
    except OSError as error:
        raise Refused(f"can't write {target}: {error.strerror or error}") from None
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def sync(file):
    """A file system that does not support it is not an error, as in src/io/posix.cpp."""
    kernel_not_supported = 524
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, kernel_not_supported]:
            raise


def run_with_installed_python():
    """Runs this script with the Python that env/install.sh set up, if this one lacks NumPy."""
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
        import numpy  # noqa: F401
    except ImportError as error:
        run_with_installed_python()
        raise Refused(f'{error.name or error} is not installed; pip install numpy') from None
    file = TorchFile(given.IN)
    content = Content(file)
    taken = content.choose(given.key)
    weights, left_out = content.weights(taken)
    write(file, weights, given.OUT)
    size = sum(map(num_bytes, weights.values()))
    place = f"'{taken}' of {given.IN}" if taken else given.IN
    print(f'{given.OUT}: {len(weights)} tensors, {size / 1e6:.1f} MB, from {place}')
    others = [path for path in content.places if path and path != taken and not path.startswith(f'{taken}.')]
    if others:
        print(f'there are weights in it too under: {listed(others)} (--key takes them)')
    if left_out:
        print(f'left out: {listed(left_out)}')


if __name__ == '__main__':
    try:
        main()
    except (Refused, OSError) as refusal:
        print(f'pth_to_safetensors.py: {refusal}', file=sys.stderr)
        sys.exit(2)
