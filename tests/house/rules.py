"""The house's rules as functions: each takes the root of a checkout and returns its complaints, one text each.

Rooms may include only what lies below them, and link what they include; ARROWS is the one list of what that is.
"""
import pathlib
import re
import subprocess

# Beside these, every room may use base.
ARROWS = {
    'base': set(),
    'io': set(),
    'comm': set(),
    'model': {'io'},
    'images': {'io'},
    'kernels': {'images'},
    'data': {'kernels', 'images', 'io'},
    'distill': {'model', 'io'},
    'checkpoint': {'io'},
    'cli': {'comm'},
    'train': {'checkpoint', 'distill', 'data', 'kernels', 'images', 'model', 'comm', 'io'},
    'app': {'cli', 'train', 'checkpoint', 'distill', 'data', 'images', 'model', 'comm', 'io'},
    'preprocess': {'cli', 'images', 'comm', 'io'},
}

TOP_LEVEL = {'CMakeLists.txt', 'LICENSE', 'README.md', 'env', 'include', 'jobs', 'preprocess', 'src', 'tests'}

# Libraries that one place wraps for all others: (header, where it may be included).
WRAPPED = [
    (r'boost/', r'src/cli/'),
    (r'hdf5\.h|H5\w+\.h', r'src/io/hdf5|include/maskedkd/io/hdf5\.hpp'),
    (r'mpi\.h|nccl\.h', r'src/comm/'),
    (r'(jpeglib|png)\.h', r'src/images/'),
    (r'openssl/', r'src/io/'),
    (r'torch/(torch|all|extension)\.h', r'$nowhere'),  # 15 seconds a file
]

MAX_LINES = 400
MAX_ROOT_CMAKE_LINES = 100


def cpp_files(root, folders=('include', 'src', 'preprocess')):
    return sorted(path for folder in folders for pattern in ('*.cpp', '*.hpp', '*.cu', '*.cuh', '*.h')
                  for path in (root / folder).rglob(pattern))


def room_of(root, path):
    parts = path.relative_to(root).parts
    if parts[0] == 'preprocess':
        return 'preprocess'
    return parts[2] if parts[0] == 'include' else parts[1]


def includes(path):
    """(line number, what is included, whether in quotes)."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if found:
            yield number, found[2], found[1] == '"'


def included_room(header):
    found = re.match(r'maskedkd/([^/]+)/', header)
    if found:
        return found[1]
    return 'preprocess' if header.startswith('preprocess/') else None


def linked_rooms(root, room):
    """What the room's CMakeLists.txt links, of maskedkd_room() and maskedkd_program() together."""
    file = root / room / 'CMakeLists.txt' if room == 'preprocess' else root / 'src' / room / 'CMakeLists.txt'
    links = set()
    if file.exists():
        for call in re.findall(r'maskedkd_(?:room|program)\(([^)]*)\)', re.sub(r'#.*', '', file.read_text())):
            links |= set(re.findall(r'\bmaskedkd_(\w+)', call.partition('LINKS')[2]))
    return links & set(ARROWS) - {room}


def check_arrows(root):
    complaints = []
    for path in cpp_files(root):
        room = room_of(root, path)
        where = path.relative_to(root)
        if room not in ARROWS:
            complaints.append(f'{where}: no room is called {room}')
            continue
        allowed = ARROWS[room] | {room, 'base'}
        for number, header, quoted in includes(path):
            target = included_room(header)
            if target is None:
                if quoted and ('/' in header or not (path.parent / header).exists()):
                    complaints.append(f'{where}:{number}: "{header}" is no header of its own folder')
            elif target not in allowed:
                complaints.append(f'{where}:{number}: {room} must not know {target} ({header})')
            elif target != room and target not in linked_rooms(root, room):
                complaints.append(f'{where}:{number}: {room} includes {target}, but does not link maskedkd_{target}')
    return complaints


def check_links(root):
    return [f'CMakeLists.txt of {room}: links maskedkd_{target}, which is no arrow of {room}'
            for room in ARROWS for target in sorted(linked_rooms(root, room) - ARROWS[room] - {'base'})]


def check_wrapped(root):
    return [f'{path.relative_to(root)}:{number}: {header} is wrapped elsewhere'
            for path in cpp_files(root) for number, header, _ in includes(path)
            for pattern, place in WRAPPED
            if re.match(pattern, header) and not re.match(place, str(path.relative_to(root)))]


def check_lengths(root):
    complaints = []
    for folder in ('include', 'src', 'preprocess', 'tests', 'jobs', 'env'):
        for path in sorted((root / folder).rglob('*')):
            if path.is_file() and path.suffix in ('.cpp', '.hpp', '.cu', '.py', '.sh', '.cmake'):
                lines = len(path.read_text().splitlines())
                if lines > MAX_LINES:
                    complaints.append(f'{path.relative_to(root)}: {lines} lines, two subjects')
    if (root / 'CMakeLists.txt').exists():
        lines = len((root / 'CMakeLists.txt').read_text().splitlines())
        if lines >= MAX_ROOT_CMAKE_LINES:
            complaints.append(f'CMakeLists.txt: {lines} lines')
    return complaints


def check_top_level(root):
    """Of what git tracks, or, outside a clone, of what is there."""
    listed = subprocess.run(['git', '-C', root, 'ls-files'], capture_output=True, text=True) \
        if (root / '.git').exists() else None
    if listed is not None and listed.returncode == 0:
        names = {line.split('/')[0].strip('"') for line in listed.stdout.splitlines()}
    else:
        names = {path.name for path in root.iterdir() if not re.match(r'build|runs$', path.name)}
    return [f'{name}: no agreed name at the top' for name in sorted(names - TOP_LEVEL) if not name.startswith('.')]


def shell_scripts(root):
    for folder in ('.ci', 'env', 'jobs', 'tests'):
        for path in sorted((root / folder).rglob('*')):
            if path.is_file() and (path.suffix in ('.sh', '.sbatch') or path.read_bytes().startswith(
                    (b'#!/bin/bash', b'#!/usr/bin/env bash', b'#!/bin/sh'))):
                yield path


def check_shell(root):
    complaints = []
    for path in shell_scripts(root):
        parsed = subprocess.run(['bash', '-n', path], capture_output=True, text=True)
        if parsed.returncode != 0:
            complaints.append(f'{path.relative_to(root)}: {parsed.stderr.strip()}')
    return complaints


ALL = [check_arrows, check_links, check_wrapped, check_lengths, check_top_level, check_shell]
