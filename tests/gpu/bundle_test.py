"""A bundle (env/bundle.sh) in a root file system that has the C and C++ runtime, a shell, sed, Python and its torch, but
neither MPI nor HDF5 nor anything else that the programs need. Skipped (77) without root and namespaces."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ['MASKEDKD_BUILD'])
LIBRARIES = pathlib.Path('lib/x86_64-linux-gnu')
RUNTIME = ('libc.so.6', 'libm.so.6', 'libpthread.so.0', 'librt.so.1', 'libdl.so.2', 'libutil.so.1', 'libresolv.so.2',
           'libanl.so.1', 'libstdc++.so.6', 'libgcc_s.so.1')
CHROOT = shutil.which('chroot', path='/usr/sbin:/usr/bin:/sbin:/bin')
TOOLS = ('sh', 'sed', 'cat', 'id', 'dirname', 'basename')  # what a launcher of the bundle calls


def libraries_of(program):
    lines = subprocess.run(['ldd', program], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split()[2] for line in lines if ' => /' in line]


class BareRoot:
    """The root file system, made of files of this machine. Python's own libraries are only found by Python."""

    def __init__(self, root):
        self.root = root
        for folder in (LIBRARIES, 'lib64', 'bin', 'usr/bin', 'opt/python', 'proc', 'sys', 'dev', 'tmp', 'bundle', 'etc'):
            (root / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy('/lib64/ld-linux-x86-64.so.2', root / 'lib64')
        for name in RUNTIME:
            shutil.copy(pathlib.Path('/') / LIBRARIES / name, root / LIBRARIES)
        for tool in TOOLS:
            found = shutil.which(tool)
            shutil.copy(found, root / 'bin')
            for library in libraries_of(found):
                shutil.copy(library, root / LIBRARIES)
        self.add_python()

    def add_python(self):
        python = pathlib.Path(sys.executable).resolve()
        standard = pathlib.Path(os.__file__).parent
        packages = next(path for path in sys.path if (pathlib.Path(path) / 'torch').is_dir())
        extensions = [path for path in standard.glob('lib-dynload/*.so')]
        for library in {each for file in (python, *extensions) for each in libraries_of(file)}:
            if pathlib.Path(library).name not in RUNTIME:
                shutil.copy(library, self.root / 'opt/python')
        shutil.copy(python, self.root / 'opt/python')
        wrapper = self.root / 'usr/bin/python3'
        wrapper.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec /lib64/ld-linux-x86-64.so.2 --argv0 /usr/bin/python3 '
                           f'--library-path /opt/python /opt/python/{python.name} -B "$@"\n')
        wrapper.chmod(0o755)
        self.mounts = [standard, *{pathlib.Path(packages)}]
        for folder in self.mounts:
            (self.root / folder.relative_to('/')).mkdir(parents=True, exist_ok=True)

    def run(self, *command, check=True):
        binds = ''.join(f'mount --rbind {folder} {self.root}{folder}\n' for folder in [*self.mounts, '/dev', '/sys'])
        script = f'set -e\n{binds}mount -t proc proc {self.root}/proc\nexec {CHROOT} {self.root} "$@"'
        done = subprocess.run(['unshare', '--mount', '--pid', '--fork', 'sh', '-c', script, 'sh', *command],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False,
                              env={'PATH': '/usr/bin:/bin', 'HOME': '/tmp', 'OMP_NUM_THREADS': '1',
                                   'OMPI_MCA_mpi_yield_when_idle': '1'})
        if check and done.returncode != 0:
            raise AssertionError(f'{command} ended with {done.returncode}:\n{done.stdout}')
        return done.stdout


class Bundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(cls.folder.name)
        made = subprocess.run([SOURCE / 'env/bundle.sh', BUILD, folder / 'bundle.tar.xz'], check=True, text=True,
                              stdout=subprocess.PIPE, env=os.environ | {'XZ_DEFAULTS': '-0'})
        print(made.stdout)
        cls.size = (folder / 'bundle.tar.xz').stat().st_size
        cls.bare = BareRoot(folder / 'root')
        subprocess.run(['tar', '-C', folder / 'root/bundle', '-xf', folder / 'bundle.tar.xz'], check=True)
        cls.bin = '/bundle/maskedkd-bundle/bin'

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_takes_less_than_60_mib(self):
        self.assertLess(self.size, 60 << 20)

    def test_every_program_starts(self):
        for program in ('train', 'evaluate', 'pack', 'preview', 'weights'):
            self.assertIn('--help', self.bare.run(f'{self.bin}/maskedkd_{program}', '--help'))

    def test_nothing_else_provides_the_libraries(self):
        program = '/bundle/maskedkd-bundle/libexec/maskedkd_pack'
        self.assertIn('cannot open shared object file', self.bare.run('/lib64/ld-linux-x86-64.so.2', program, '--help', check=False))

    def test_trains_is_killed_and_resumes_and_tests_for_a_gpu_skip(self):
        table = self.bare.run('/usr/bin/python3', '/bundle/maskedkd-bundle/tests/gpu/run.py', '/bundle/maskedkd-bundle', '--device', 'cpu',
                              '--parts', 'machine,nccl,augment,prepare,steps,resumed,graph')
        print(table)
        self.assertRegex(table, r'killed and resumed, bits +ok')
        for part in ('NCCL, one rank', 'augmentation against the CPU', 'a batch prepared on the GPU', 'five steps against PyTorch'):
            self.assertRegex(table, part + ' +skipped')

    def test_two_ranks_start_with_the_bundles_mpiexec(self):
        output = self.bare.run(f'{self.bin}/mpiexec', '-n', '2', f'{self.bin}/maskedkd_train', '--device', 'cpu',
                               '--data-path', '/missing', '--output-dir', '/tmp/run', check=False)
        self.assertRegex(output, r'\[rank 0\] the folder /missing does not exist')

    def test_another_torch_is_refused(self):
        other = self.bare.root / 'other-torch'
        other.mkdir()
        (other / 'version.py').write_text("__version__ = '2.10.0'\n")
        output = self.bare.run('/bin/sh', '-c', f'LIBTORCH_ROOT=/other-torch {self.bin}/maskedkd_train --help || echo code $?')
        self.assertRegex(output, r'this bundle needs torch .*, and /other-torch is 2\.10\.0\ncode 2')


def can_make_namespaces():
    return os.geteuid() == 0 and subprocess.run(['unshare', '--mount', '--pid', '--fork', 'true'], check=False,
                                                capture_output=True).returncode == 0


if __name__ == '__main__':
    if not can_make_namespaces():
        print('skipped: needs root and namespaces')
        sys.exit(77)
    unittest.main(verbosity=2)
