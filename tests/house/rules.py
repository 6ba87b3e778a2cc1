"""The rules for this code as functions: each takes the root of a checkout and returns its violations, one text each.

A module may include only what DEPENDENCIES lists for it, and links what it includes.
"""
import pathlib
import re
import subprocess

# What each module may include, besides base.
DEPENDENCIES = {
    'base': set(),
    'io': set(),
    'comm': set(),
    'watchdog': {'comm'},
    'model': {'kernels', 'augment', 'codecs', 'io'},
    'shards': {'io'},
    'codecs': {'shards', 'io'},
    'augment': {'codecs'},
    'kernels': {'augment', 'codecs'},
    'data': {'kernels', 'augment', 'codecs', 'shards', 'io'},
    'distill': {'model', 'kernels', 'augment', 'codecs', 'io'},
    'checkpoint': {'io'},
    'cli': {'comm'},
    'train': {'checkpoint', 'distill', 'data', 'kernels', 'augment', 'codecs', 'shards', 'model', 'watchdog', 'comm', 'io'},
    'app': {'cli', 'train', 'checkpoint', 'distill', 'data', 'augment', 'codecs', 'shards', 'model', 'watchdog', 'comm', 'io'},
    'preprocess': {'cli', 'codecs', 'shards', 'comm', 'io'},
}

TOP_LEVEL = {'CMakeLists.txt', 'LICENSE', 'README.md', 'env', 'include', 'jobs', 'preprocess', 'src', 'tests'}

# Libraries that are wrapped in one place: (header, where it may be included).
WRAPPED = [
    (r'boost/', r'src/cli/'),
    (r'hdf5\.h|H5\w+\.h', r'src/io/hdf5|include/maskedkd/io/hdf5\.hpp'),
    (r'mpi\.h|nccl\.h', r'src/comm/'),
    (r'(jpeglib|png)\.h', r'src/codecs/'),
    (r'openssl/', r'src/io/'),
    (r'utf8proc\.h', r'src/base/unicode\.cpp'),
    (r'torch/(torch|all|extension)\.h', r'$nowhere'),  # 15 seconds a file
]

MAX_LINES = 400
MAX_ROOT_CMAKE_LINES = 100
MAX_DATA_MEMBERS = 15


def cpp_files(root, folders=('include', 'src', 'preprocess')):
    return sorted(path for folder in folders for pattern in ('*.cpp', '*.hpp', '*.cu', '*.cuh', '*.h')
                  for path in (root / folder).rglob(pattern))


def module_of(root, path):
    parts = path.relative_to(root).parts
    if parts[0] == 'preprocess':
        return 'preprocess'
    return parts[2] if parts[0] == 'include' else parts[1]


def includes(path):
    """(line number, included header, whether it is in quotes)."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if found:
            yield number, found[2], found[1] == '"'


def included_module(header):
    found = re.match(r'maskedkd/([^/]+)/', header)
    if found:
        return found[1]
    return 'preprocess' if header.startswith('preprocess/') else None


def linked_modules(root, module):
    """The modules that the CMakeLists.txt links, in maskedkd_module() and maskedkd_program() together."""
    file = root / module / 'CMakeLists.txt' if module == 'preprocess' else root / 'src' / module / 'CMakeLists.txt'
    links = set()
    if file.exists():
        for call in re.findall(r'maskedkd_(?:module|program)\(([^)]*)\)', re.sub(r'#.*', '', file.read_text())):
            links |= set(re.findall(r'\bmaskedkd_(\w+)', call.partition('LINKS')[2]))
    return links & set(DEPENDENCIES) - {module}


def check_dependencies(root):
    complaints = []
    for path in cpp_files(root):
        module = module_of(root, path)
        where = path.relative_to(root)
        if module not in DEPENDENCIES:
            complaints.append(f'{where}: no module is called {module}')
            continue
        allowed = DEPENDENCIES[module] | {module, 'base'}
        for number, header, quoted in includes(path):
            target = included_module(header)
            if target is None:
                if quoted and ('/' in header or not (path.parent / header).exists()):
                    complaints.append(f'{where}:{number}: "{header}" is no header of its own folder')
            elif target not in allowed:
                complaints.append(f'{where}:{number}: {module} must not include {target} ({header})')
            elif target != module and target not in linked_modules(root, module):
                complaints.append(f'{where}:{number}: {module} includes {target}, but does not link maskedkd_{target}')
    return complaints


def check_links(root):
    return [f'CMakeLists.txt of {module}: links maskedkd_{target}, which is not among the dependencies of {module}'
            for module in DEPENDENCIES for target in sorted(linked_modules(root, module) - DEPENDENCIES[module] - {'base'})]


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


def without_nested(text, opening, closing):
    """The text outside of all pairs of these brackets."""
    kept, depth = [], 0
    for character in text:
        depth += character == opening
        if depth == 0:
            kept.append(character)
        depth -= character == closing and depth > 0
    return ''.join(kept)


def data_members(text):
    """(class, its data members) of each class in this source: names that end with _, declared directly in the class."""
    text = re.sub(r'//.*', '', text)
    for found in re.finditer(r'\bclass ([\w:]+)[^;{(]*{', text):
        begin = end = found.end()
        depth = 1
        while depth > 0 and end < len(text):
            depth += {'{': 1, '}': -1}.get(text[end], 0)
            end += 1
        body = without_nested(text[begin:end - 1], '{', '}')
        for brackets in ('()', '<>'):
            body = without_nested(body, *brackets)
        declared = [statement for statement in body.split(';') if not re.match(r'\s*(friend|using|return)\b', statement)]
        yield found[1], [name for statement in declared
                         for name in re.findall(r'\b([a-z]\w*_)\s*(?==(?!=)|,|$)', statement.strip())]


def check_repository_search(root):
    """Slurm runs a copy of a batch file from its spool folder, so each has to find the repository itself: all alike."""
    searches = {}
    for path in sorted((root / 'jobs').glob('*.sbatch')):
        found = re.search(r'^# Slurm runs a copy.*^source jobs/lib.sh$', path.read_text(), re.MULTILINE | re.DOTALL)
        searches[path] = found[0] if found else ''
    common = max(searches.values(), key=list(searches.values()).count, default='')
    return [f'{path.relative_to(root)}: finds the repository otherwise than the other batch files'
            for path, search in searches.items() if not search or search != common]


def check_data_members(root):
    return [f'{path.relative_to(root)}: {name} has {len(members)} data members, more than one responsibility'
            for path in cpp_files(root) for name, members in data_members(path.read_text())
            if len(members) > MAX_DATA_MEMBERS]


def check_top_level(root):
    """Checks the names that git tracks, or, outside a clone, all existing names."""
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


ALL = [check_dependencies, check_links, check_wrapped, check_lengths, check_data_members, check_top_level,
       check_repository_search, check_shell]
