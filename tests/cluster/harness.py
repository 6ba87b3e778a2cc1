"""Shared by the tests on a cluster: the cluster, jobs and their state, a small run, and the comparison of two runs. Programs come
from MASKEDKD_BUILD (a build folder), counts from the environment.
"""
import atexit
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ['MASKEDKD_BUILD']).resolve()
CLUSTER = ROOT / 'tests/cluster/cluster.sh'
SKIPPED = 77


def count(name, default):
    return int(os.environ.get(name, default))


def run(*command, timeout=60, check=True, **kwargs):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=timeout, cwd=ROOT, **kwargs)
    if check and done.returncode != 0:
        raise AssertionError(f'{command} ended with {done.returncode}:\n{done.stdout}')
    return done


def recipe_text(flags):
    """Flags as lines of a --config file."""
    lines = []
    for flag in flags:
        if flag.startswith('--'):
            lines.append([flag[2:], 'true'])
        else:
            lines[-1][1] = flag
    return ''.join(f'{key} = {value}\n' for key, value in lines)


def wait_for(what, condition, timeout):
    end = time.time() + timeout
    while time.time() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f'waited {timeout} s for {what}')


class Cluster:
    """Runs until down() is called, at the latest until this process ends."""

    def __init__(self, nodes, task_plugin='task/none'):
        self.place = pathlib.Path(tempfile.mkdtemp(prefix='maskedkd-cluster-'))
        self.folder = self.place / 'slurm'
        self.nodes = nodes
        # Takes the cluster down if this process is killed, which closes its end of the pipe.
        self.undertaker = subprocess.Popen(
            ['bash', '-c', 'trap "" INT TERM; read -r; "$0" down "$1"; rm -rf "$2"', CLUSTER, self.folder, self.place],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        up = subprocess.run([CLUSTER, 'up', self.folder, str(nodes), task_plugin], stderr=subprocess.PIPE, text=True)
        if up.returncode == SKIPPED:
            print(up.stderr, end='')
            self.down()
            raise SystemExit(SKIPPED)
        if up.returncode != 0:
            self.down()
            raise AssertionError(up.stderr)
        atexit.register(self.down)
        signal.signal(signal.SIGTERM, lambda *_: exit(1))
        os.environ['SLURM_CONF'] = str(self.folder / 'slurm.conf')

    def down(self):
        if self.place.exists():
            self.act('down')
            shutil.rmtree(self.place, ignore_errors=True)
        if self.undertaker.stdin:
            self.undertaker.stdin.close()
            self.undertaker.wait()

    def act(self, action, *arguments):
        subprocess.run([CLUSTER, action, self.folder, *map(str, arguments)], check=True, timeout=90)

    def processes(self, node, name):
        """Process numbers of that name on a node."""
        folder = str(self.folder.resolve())
        identity = hashlib.sha256(folder.encode()).hexdigest()[:5]
        found = run('ip', 'netns', 'pids', f'mk{identity}-{node}', check=False).stdout.split()
        return [int(pid) for pid in found if _comm(pid) == name[:15]]

    def idle(self):
        nodes = run('sinfo', '--noheader', '--Node', '--partition=urgent', '--states=idle', '--format=%N').stdout
        return len(nodes.split()) == self.nodes


def skip_without_a_cluster():
    """Ends the process if no cluster can be started here."""
    Cluster(1).down()


def _comm(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/comm').read_text().strip()
    except FileNotFoundError:
        return ''


class Job:
    """command: of sbatch or jobs/submit.sh; submitted: its output if it has already run."""

    def __init__(self, *command, log, submitted=''):
        self.log = log
        self.number = re.search(r'Submitted batch job (\d+)', submitted or run(*command).stdout)[1]

    def fields(self):
        text = run('scontrol', 'show', 'job', '--oneliner', self.number, check=False).stdout
        return dict(re.findall(r'(\w+)=(\S*)', text))

    def state(self):
        return self.fields().get('JobState', '')

    def restarts(self):
        return int(self.fields().get('Restarts', 0))

    def nodes(self):
        """Numbers of its nodes."""
        names = run('scontrol', 'show', 'hostnames', self.fields().get('NodeList', ''), check=False).stdout.split()
        return [int(name[1:]) for name in names if re.fullmatch(r'n\d+', name)]

    def output(self):
        return self.log.read_text(errors='replace') if self.log.exists() else ''

    def wait_for(self, what, condition, timeout):
        """Fails with all known facts about the job."""
        try:
            return wait_for(f'{what} (job {self.number})', condition, timeout)
        except AssertionError as error:
            nodes = run('sinfo', '--Node', '--long', check=False).stdout
            raise AssertionError(f'{error}; it is {self.fields()}\n{nodes}{self.output()[-3000:]}') from None

    def wait_until_ended(self, timeout):
        """The exit code."""
        ended = ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT', 'NODE_FAIL', 'OUT_OF_MEMORY')
        self.wait_for('its end', lambda: self.state() in ended, timeout)
        return int(self.fields()['ExitCode'].split(':')[0])


class Work:
    """A folder with packed images, a teacher, and the site's file for the job scripts."""

    def __init__(self, cluster, ranks_per_node=1, nodes=2):
        self.place = cluster.place / 'work'
        self.place.mkdir(exist_ok=True)
        self.site = self.place / 'site.sh'
        self.site.write_text(f'''site_partition= site_account= site_time= site_nodes={nodes}
site_ranks_per_node={ranks_per_node} site_gpus_per_node=0 site_cpus_per_rank=1 site_sbatch=() site_srun=(--mpi=pmix)
site_build={BUILD} site_data={self.place}/packed site_weights={self.place} site_runs={self.place}/runs
site_setup() {{ export OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1; }}
''')
        os.environ['MASKEDKD_SITE'] = str(self.site)
        os.environ['OMP_NUM_THREADS'] = '1'

    def write_images(self, count=256):
        """IDX files: images of noise with a bright band whose position is the class."""
        import random
        noise = random.Random(7)
        pixels = bytearray()
        for i in range(count):
            for pixel in range(256):
                pixels.append((150 if pixel // 64 == i % 4 else 20) + noise.randrange(80))
        (self.place / 'images').write_bytes(struct.pack('>IIII', 0x803, count, 16, 16) + pixels)
        (self.place / 'labels').write_bytes(struct.pack('>II', 0x801, count) + bytes(i % 4 for i in range(count)))
        return ['--source', 'idx', '--images', self.place / 'images', '--labels', self.place / 'labels',
                '--records-per-shard', '100']

    def pack(self, name='packed'):
        run(BUILD / 'bin/maskedkd_pack', *self.write_images(), '--output-dir', self.place / name)

    common = ('--model vit --input-size 16 --patch-size 4 --batch-size 32 --micro-batch 8 --repeats 1 --lr 8e-3 '
              '--lr-per-step --warmup-epochs 1 --precision fp32 --threads 1 --workers 1 --device cpu').split()

    def train_teacher(self):
        run(BUILD / 'bin/maskedkd_train', *self.common, '--data-path', self.place / 'packed', '--output-dir',
            self.place / 'teacher', '--distillation-type', 'none', '--epochs', 1, '--width', 32, '--depth', 2,
            '--heads', 4)

    def student(self, *more):
        checkpoints = [] if '--checkpoint-steps' in more else ['--checkpoint-steps', '20']
        return [*self.common, '--width', '24', '--depth', '3', '--heads', '2', '--teacher-path',
                str(self.place / 'teacher'), '--checkpoint-minutes', '0', *checkpoints, *map(str, more)]

    def undisturbed(self, *more):
        """The folder of a run of one process, computed once for each set of flags."""
        folder = self.place / ('undisturbed' + ''.join(more).replace('/', '_'))
        if not folder.exists():
            run(BUILD / 'bin/maskedkd_train', '--data-path', self.place / 'packed', *self.student(*more),
                '--output-dir', folder, timeout=300)
        return folder

    def folder(self, name):
        return self.place / 'runs' / name

    def submit(self, name, *more, flags=(), job='train'):
        log = self.place / f'{name}.log'
        return Job('jobs/submit.sh', f'--output={log}', *flags, job, *self.student(*more), '--output-dir',
                   self.folder(name), log=log)


def status(folder):
    try:
        return json.loads((folder / 'status.json').read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def newest_step(folder):
    steps = [int(re.match(r'step-(\d+)', path.name)[1]) for path in (folder / 'checkpoints').glob('step-*')]
    return max(steps, default=-1)


def log_without_times(folder):
    lines = [json.loads(line) for line in (folder / 'log.txt').read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ('images_per_second', 'waiting_share')}
            for line in lines]


class ClusterTest(unittest.TestCase):
    @classmethod
    def prepare(cls, work, epochs):
        """Packs images, trains a teacher, and makes an undisturbed run of so many epochs."""
        cls.work = work
        work.pack()
        work.train_teacher()
        cls.expected = work.undisturbed('--epochs', epochs)

    def assert_same_run(self, expected, found):
        self.assertTrue((found / 'finished.json').exists(), f'{found} is not finished')
        self.assertEqual(log_without_times(expected), log_without_times(found))
        step = newest_step(expected)
        self.assertEqual(step, newest_step(found))
        last = sorted((expected / 'checkpoints').glob(f'step-{step:09}*'))[-1]  # with -evaluated or without
        files = sorted(last.glob('*.safetensors'))
        self.assertGreaterEqual(len(files), 2)
        for file in files:
            self.assertEqual(file.read_bytes(), (found / 'checkpoints' / file.parent.name / file.name).read_bytes(),
                             f'another {file.name} in {found}')
