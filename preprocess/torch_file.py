"""Reads files of torch.save without torch, and without running any code in them.

A file of torch.save is a pickle, a program that may call any function. Here only tensors come into being, as records of
where their bytes lie; every other object becomes a Placeholder, which keeps what belongs to it and imports and calls
nothing. Used by pth_to_safetensors.py.
"""
import fnmatch
import os
import pickle
import struct
import zipfile
import zlib


class Refused(Exception):
    """An error message of one line; the exit code is 2."""


# The dtypes that maskedkd's programs read: the storage class of torch, and the names in torch, in safetensors, and in
# NumPy of the type with the same bits (NumPy has no bfloat16).
KINDS = {'Float': ('float32', 'F32', '<f4'), 'Double': ('float64', 'F64', '<f8'), 'Half': ('float16', 'F16', '<f2'),
         'BFloat16': ('bfloat16', 'BF16', '<u2'), 'Long': ('int64', 'I64', '<i8'), 'Int': ('int32', 'I32', '<i4'),
         'Byte': ('uint8', 'U8', '|u1'), 'Bool': ('bool', 'BOOL', '|u1')}
SAFETENSORS_DTYPES = {name: code for name, code, _ in KINDS.values()}
NUMPY_DTYPES = {name: bits for name, _, bits in KINDS.values()}
OTHER_KINDS = {'Short': 'int16', 'Char': 'int8', 'ComplexFloat': 'complex64', 'ComplexDouble': 'complex128',
               'QInt8': 'qint8', 'QUInt8': 'quint8', 'QInt32': 'qint32'}
ITEM_BYTES = {**{name: int(bits[-1]) for name, bits in NUMPY_DTYPES.items()}, 'int16': 2, 'int8': 1, 'complex64': 8,
              'complex128': 16, 'qint8': 1, 'quint8': 1, 'qint32': 4}
LEGACY_MAGIC = 0x1950a86a20f9469cfc6c
LARGEST_REPEATED = 2 ** 28  # elements of a tensor whose memory is used several times (torch.Tensor.expand)

# Functions that malicious pickles call. No training script leaves calls of them in a checkpoint.
HARMFUL = ['posix.*', 'nt.*', 'os.system', 'os.popen', 'os.exec*', 'os.spawn*', 'os.posix_spawn*', 'os.remove',
           'os.unlink', 'os.rename', 'subprocess.*', 'pty.*', 'runpy.*', 'ctypes.*', 'socket.*', 'shutil.*',
           'webbrowser.*', 'importlib.*', 'pickle.loads', '_pickle.loads', 'builtins.eval', 'builtins.exec',
           'builtins.compile', 'builtins.open', 'builtins.__import__', '__builtin__.eval', '__builtin__.exec*',
           '__builtin__.compile', '__builtin__.open', '__builtin__.file', '__builtin__.__import__']


class Storage:
    __slots__ = ('key', 'dtype', 'num_bytes')

    def __init__(self, key, dtype, num_elements):
        self.key, self.dtype = key, dtype  # dtype: '' for untyped bytes
        self.num_bytes = num_elements * ITEM_BYTES.get(dtype, 1)


class Tensor:
    """A view of a storage: offset and strides are in elements."""
    __slots__ = ('storage', 'dtype', 'offset', 'shape', 'strides', 'negated')

    def __init__(self, storage, dtype, offset, shape, strides, negated):
        numbers = [offset, *shape, *strides]
        if not isinstance(storage, Storage) or len(shape) != len(strides) or \
                any(type(number) is not int or not 0 <= number < 2 ** 60 for number in numbers):
            raise ValueError('a tensor in it is malformed')
        self.storage, self.dtype, self.offset = storage, dtype, offset
        self.shape, self.strides, self.negated = tuple(shape), tuple(strides), negated

    def __setstate__(self, state):
        """Ignores attributes that a script gave to a tensor."""

    @property
    def num_elements(self):
        product = 1
        for side in self.shape:
            product *= side
        return product


class Placeholder:
    """Stands for an object that is not built. items: the content of a dict of any type; state: its attributes."""
    origin = ''  # module and name of the class

    def __new__(cls, *args, **kwargs):
        made = object.__new__(cls)
        made.items, made.state = {}, {}
        return made

    def __init__(self, *args, **kwargs):
        if self.origin == 'collections.OrderedDict' and args:  # [(name, value), ...]
            self.items.update(args[0])

    def __call__(self, *args, **kwargs):
        return Placeholder()

    def __setstate__(self, state):
        if isinstance(state, tuple) and len(state) == 2:  # (attributes, values of slots)
            state = state[0]
        self.state = state if isinstance(state, dict) else {}

    def __setitem__(self, key, value):
        self.items[key] = value

    def append(self, item):
        pass

    def extend(self, items):
        pass

    def add(self, item):
        pass

    def update(self, items):
        pass


class StorageClass:
    __slots__ = ('dtype',)

    def __init__(self, dtype):
        self.dtype = dtype


class Rebuilder:
    """One of the functions of torch with which a pickle makes a tensor."""
    __slots__ = ('make',)

    def __init__(self, make):
        self.make = make

    def __call__(self, *args):
        return self.make(*args)


def rebuild(storage, offset, shape, strides, *more):  # more: requires_grad, hooks, {'neg': True, 'conj': ...}
    metadata = next((item for item in more[2:] if isinstance(item, dict)), {})
    if metadata.get('conj'):
        return Placeholder()
    return Tensor(storage, storage.dtype, offset, shape, strides, bool(metadata.get('neg')))


def rebuild_of_dtype(storage, offset, shape, strides, requires_grad, hooks, dtype, *more):
    known = dtype.origin.removeprefix('torch.') if isinstance(dtype, type) else ''
    return Tensor(storage, known, offset, shape, strides, bool(more and more[0] and more[0].get('neg')))


def rebuild_of_type(function, kind, args, state):
    return function(*args) if isinstance(function, Rebuilder) else Placeholder()


REBUILDERS = {'torch._utils._rebuild_tensor': rebuild, 'torch._utils._rebuild_tensor_v2': rebuild,
              'torch._utils._rebuild_tensor_v3': rebuild_of_dtype,
              'torch._utils._rebuild_parameter': lambda tensor, *more: tensor,
              'torch._utils._rebuild_parameter_with_state': lambda tensor, *more: tensor,
              'torch._tensor._rebuild_from_type_v2': rebuild_of_type,
              'torch._tensor._rebuild_from_type': rebuild_of_type}


class Unpickler(pickle._Unpickler):  # the one in Python, whose memory is limited by the file's size, not by its numbers
    def __init__(self, file):
        super().__init__(file, encoding='utf-8')
        self.storages, self.origins, self.harmful = {}, {}, []

    def find_class(self, module, name):
        origin = f'{module}.{name}'
        if origin in REBUILDERS:
            return Rebuilder(REBUILDERS[origin])
        if origin in ('builtins.set', '__builtin__.set'):
            return set
        kind = name.removesuffix('Storage')
        if module in ('torch', 'torch.cuda', 'torch.storage') and kind != name:
            return StorageClass(KINDS[kind][0] if kind in KINDS else OTHER_KINDS.get(kind, ''))
        if any(fnmatch.fnmatchcase(origin, harmful) for harmful in HARMFUL) and not name.endswith('_result'):
            raise Refused(f'it calls {origin} when torch opens it, which no weights need: it was made to do harm; '
                          'nothing of it was run; get the weights from another place')
        if origin not in self.origins:
            self.origins[origin] = type(name.rpartition('.')[2], (Placeholder,), {'origin': origin})
        return self.origins[origin]

    def get_extension(self, code):
        raise pickle.UnpicklingError('it needs the registry of the process that wrote it')

    def persistent_load(self, identity):
        if not isinstance(identity, tuple) or len(identity) < 2:
            raise pickle.UnpicklingError('its storages are malformed')
        if identity[0] == 'module':  # a whole module, with its source text
            return identity[1]
        _, kind, key, _, num_elements, *view = identity
        if type(num_elements) is not int or not 0 <= num_elements < 2 ** 60:
            raise pickle.UnpicklingError('its storages are malformed')
        if view and view[0] is not None:
            raise Refused('it has storages that are parts of others, of torch before 1.0; save it again with a newer '
                          'torch')
        storage = Storage(str(key), getattr(kind, 'dtype', ''), num_elements)
        return self.storages.setdefault(storage.key, storage)


class Archive:
    """A file of torch 1.6 or newer: a zip archive of data.pkl and a record for each storage."""

    def __init__(self, path):
        if not zipfile.is_zipfile(path):
            raise Refused(f'{path} has lost its end; is it still being written or copied?')
        self.path, self.zip = path, zipfile.ZipFile(path)
        self.records = {info.filename: info for info in self.zip.infolist()}
        pickles = [name for name in self.records if name == 'data.pkl' or name.endswith('/data.pkl')]
        if not pickles:
            self.refuse_other_archive()
        self.root = pickles[0].removesuffix('data.pkl')
        if f'{self.root}constants.pkl' in self.records:
            raise Refused(f'{path} is a TorchScript archive, a program; torch.save its state_dict() instead')
        # torch.serialization.set_crc32_options(False) writes 0 for every checksum.
        self.checksums = any(info.CRC for info in self.zip.infolist())
        if self.record('byteorder', b'little') != b'little':
            raise Refused(f'{path} was saved on a big-endian machine; save it again on a little-endian one')
        with self.zip.open(self.info('data.pkl')) as file:
            unpickler = Unpickler(file)
            self.content = unpickler.load()
        self.origins = unpickler.origins

    def refuse_other_archive(self):
        if any(name.endswith('.npy') for name in self.records):
            raise Refused(f'{self.path} is a NumPy archive (.npz), as JAX weights are published; {TIMM_READS_NPZ}')
        if any(name.startswith('word/') or name == '[Content_Types].xml' for name in self.records):
            raise Refused(f'{self.path} is an Office document, not weights')
        listed = ', '.join(list(self.records)[:4]) or 'nothing'
        raise Refused(f'{self.path} is a zip archive, but none of torch.save: it holds {listed}; unpack it and name '
                      'the file of the weights')

    def info(self, name):
        info = self.records[self.root + name]
        if not self.checksums:
            info.CRC = None
        return info

    def record(self, name, otherwise=None):
        if self.root + name not in self.records:
            return otherwise
        return self.zip.read(self.info(name))

    def read(self, storage):
        data = self.record(f'data/{storage.key}')
        if data is None:
            raise ValueError(f'it lacks the values of storage {storage.key}')
        return data


class LegacyFile:
    """A file of torch before 1.6: five pickles, then the storages."""

    def __init__(self, path):
        self.path = path
        with open(path, 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            if Unpickler(file).load() != LEGACY_MAGIC:
                raise ValueError('its pickle is none of torch.save')
            Unpickler(file).load()  # the version of the protocol
            system = Unpickler(file).load()
            if isinstance(system, dict) and system.get('little_endian') is False:
                raise Refused(f'{path} was saved on a big-endian machine; save it again on a little-endian one')
            unpickler = Unpickler(file)
            self.content, self.origins, storages = unpickler.load(), unpickler.origins, unpickler.storages
            self.places = {}
            for key in map(str, Unpickler(file).load()):
                count = struct.unpack('<q', self.whole(file.read(8), 8))[0]
                place = file.tell()
                num_bytes = count * ITEM_BYTES.get(storages[key].dtype, 1)
                if not 0 <= num_bytes <= size - place:
                    self.whole(b'', 1)
                self.places[key] = (place, num_bytes)
                file.seek(place + num_bytes)

    @staticmethod
    def whole(data, num_bytes):
        if len(data) != num_bytes:
            raise ValueError('it has lost its end; is it still being written or copied?')
        return data

    def read(self, storage):
        place, num_bytes = self.places[storage.key]
        with open(self.path, 'rb') as file:
            file.seek(place)
            return self.whole(file.read(num_bytes), num_bytes)


TIMM_READS_NPZ = ('timm reads those of ViT: python3 -c "import timm, torch; torch.save(timm.create_model(\'MODEL\', '
                  'checkpoint_path=\'IN\').state_dict(), \'OUT.pth\')"')


class TorchFile:
    """content: nested dicts, lists, tensors and placeholders. origins: the classes of the placeholders."""

    def __init__(self, path):
        self.path, self.last = path, (None, b'')
        with open(path, 'rb') as file:
            zipped = file.read(4) == b'PK\x03\x04'
        self.file = self.guarded(lambda: (Archive if zipped else LegacyFile)(path))
        self.content, self.origins = self.file.content, sorted(self.file.origins)

    def guarded(self, action):
        try:
            return action()
        except Refused as refusal:
            said = str(refusal)
            raise Refused(said if said.startswith(self.path) else f'{self.path}: {said}') from None
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            said = str(error) or 'it has lost its end'
            if said.startswith('Bad CRC'):
                said = 'a record in it has another checksum'
            raise Refused(f'{self.path} is damaged: {said}; copy it again') from None
        except MemoryError:
            raise Refused(f'{self.path} needs more memory than there is') from None
        except OSError:
            raise
        except Exception as error:  # a damaged pickle can cause any of them
            said = str(error) if isinstance(error, ValueError) else f'its pickle is malformed ({type(error).__name__})'
            raise Refused(f'{self.path} is no whole file of torch.save: {said.splitlines()[0]}') from None

    def values(self, tensor):
        """The values as contiguous bytes."""
        return self.guarded(lambda: self.gather(tensor))

    def gather(self, tensor):
        import numpy  # here, as reading only the names does not need it
        dtype = numpy.dtype(NUMPY_DTYPES[tensor.dtype])
        if tensor.num_elements == 0:
            return b''
        if self.last[0] != tensor.storage.key:
            self.last = (tensor.storage.key, self.file.read(tensor.storage))
        data = self.last[1]
        end = tensor.offset + 1 + sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides))
        if end * dtype.itemsize > len(data):
            raise ValueError('a tensor in it lies outside of its storage')
        if tensor.num_elements > max(len(data), LARGEST_REPEATED):
            raise ValueError('a tensor in it is larger than the file')
        flat = numpy.frombuffer(data, dtype, len(data) // dtype.itemsize)
        view = numpy.lib.stride_tricks.as_strided(flat[tensor.offset:], tensor.shape,
                                                  [stride * dtype.itemsize for stride in tensor.strides])
        array = numpy.ascontiguousarray(view)
        if tensor.negated:  # a view with torch's bit for negation
            array = array ^ numpy.uint16(0x8000) if tensor.dtype == 'bfloat16' else -array
        return array.tobytes()
