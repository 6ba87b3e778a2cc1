"""python format_check.py ROOT: checks that clang-format changes no C++ file. Exits with 77 if that can't be checked."""
import pathlib
import re
import shutil
import subprocess
import sys

MAJOR = 14  # other versions break some lines differently

root = pathlib.Path(sys.argv[1])
program = shutil.which(f'clang-format-{MAJOR}') or shutil.which('clang-format')
if program is None:
    print('skipped: clang-format is not installed')
    sys.exit(77)
version = subprocess.run([program, '--version'], capture_output=True, text=True).stdout.strip()
files = [str(path) for folder in ('include', 'src', 'preprocess', 'tests') for pattern in ('*.cpp', '*.hpp', '*.cu')
         for path in sorted((root / folder).rglob(pattern))]
assert files
checked = subprocess.run([program, '--dry-run', '-Werror', *files], cwd=root, capture_output=True, text=True)
if checked.returncode == 0:
    print(f'{len(files)} files, {version}')
    sys.exit(0)
names = sorted({line.split(':')[0] for line in checked.stderr.splitlines() if '-Wclang-format-violations' in line})
if int(re.search(r'version (\d+)', version)[1]) != MAJOR:
    print(f'skipped: {version} would format {len(names)} files otherwise, but version {MAJOR} decides')
    sys.exit(77)
print(checked.stderr[:2000])
print('clang-format -i ' + ' '.join(str(pathlib.Path(name).relative_to(root)) for name in names))
sys.exit(1)
