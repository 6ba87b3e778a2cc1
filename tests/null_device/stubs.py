"""Writes C for every function of CUDA, cuBLAS, cuDNN and NCCL that libraries need and the null device does not implement:
it reports its name and fails.

    stubs.py OUTPUT OBJECT... -- LIBRARY...

A name ending in .so counts as needed by what it imports; libcudart and libnccl count by all that they export, as programs may
call any of it.
"""
import pathlib
import re
import subprocess
import sys

PREFIXES = re.compile(r'(__cuda|cuda[A-Z]|cublas|cudnn|nccl[A-Z])')
# Answered by the real libraries, which need no device for it.
REAL = {'cudnnGetVersion', 'cudnnGetCudartVersion', 'cudnnGetErrorString', 'cudnnGetLastErrorString', 'ncclGetVersion'}
FAILURES = (('cublas', 15), ('cudnn', 3000), ('nccl', 3), ('', 801))  # each library's "not supported"


def names(path, *options):
    listed = subprocess.run(['nm', *options, path], check=True, capture_output=True, text=True).stdout
    found = (line.split()[-1].split('@')[0] for line in listed.splitlines() if line.strip() and not line.endswith(':'))
    return {name for name in found if PREFIXES.match(name)}


def main():
    output, *files = sys.argv[1:]
    objects, libraries = files[:files.index('--')], files[files.index('--') + 1:]
    implemented = set().union(*(names(path, '--defined-only', '--extern-only') for path in objects))
    needed = set()
    for path in libraries:
        exports = re.match(r'lib(cudart|nccl)\.', pathlib.Path(path).name)
        needed |= names(path, '--dynamic', '--defined-only' if exports else '--undefined-only')
    lines = ['int null_device_not_implemented(const char* name, int code);']
    for name in sorted(needed - implemented - REAL):
        code = next(code for prefix, code in FAILURES if name.startswith(prefix))
        lines.append(f'__attribute__((visibility("default"))) int {name}(void);')
        lines.append(f'int {name}(void) {{ return null_device_not_implemented("{name}", {code}); }}')
    pathlib.Path(output).write_text('\n'.join(lines) + '\n')


if __name__ == '__main__':
    main()
