"""A cluster that was taken down leaves nothing behind, whatever state it was in."""
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import harness
from harness import run, wait_for


class Traces:
    """Everything that belongs to the cluster in a folder, found independently of cluster.sh."""

    def __init__(self, folder):
        self.folder = str(pathlib.Path(folder).resolve())
        self.name = 'mk' + hashlib.sha256(self.folder.encode()).hexdigest()[:5]
        self.networks = set()

    def look(self):
        """Kind -> the objects of that kind."""
        namespaces = [line for line in run('ip', 'netns', 'list').stdout.splitlines() if line.startswith(self.name)]
        for line in namespaces:
            try:
                self.networks.add(os.stat(f'/run/netns/{line.split()[0]}').st_ino)
            except FileNotFoundError:
                pass
        processes, mounts = [], []
        for entry in pathlib.Path('/proc').iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    self.look_at(entry, processes, mounts)
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    pass
        return {'namespaces': namespaces, 'processes': processes, 'mounts': sorted(set(mounts)),
                'interfaces': [line for line in run('ip', '-oneline', 'link').stdout.splitlines()
                               if f' {self.name}' in line]}

    def look_at(self, process, processes, mounts):
        words = (process / 'cmdline').read_bytes() + (process / 'environ').read_bytes()
        network = os.stat(process / 'ns/net').st_ino
        if self.folder.encode() in words or network in self.networks:
            processes.append(f'{process.name} {(process / "comm").read_text().strip()}')
        mounts += [line.split(' ', 1)[1] for line in (process / 'mountinfo').read_text().splitlines()
                   if self.folder in line or self.name in line]

    def names(self):
        return [line.split()[1] for line in self.look()['processes']]


def cluster(action, folder, *more, **kwargs):
    return subprocess.run([harness.CLUSTER, action, folder, *map(str, more)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=120, **kwargs)


class Teardown(unittest.TestCase):
    def setUp(self):
        self.place = pathlib.Path(tempfile.mkdtemp(prefix='maskedkd-cluster-'))
        self.folders = [self.place / 'first', self.place / 'second']
        self.addCleanup(self.clean)

    def clean(self):
        for folder in self.folders:
            cluster('down', folder)
        subprocess.run(['rm', '-rf', self.place], check=True)

    def up(self, folder):
        up = cluster('up', folder)
        self.assertEqual(up.returncode, 0, up.stdout)
        return {**os.environ, 'SLURM_CONF': str(folder / 'slurm.conf')}

    def assert_nothing_is_left(self, traces):
        self.assertEqual(traces.look(), {'namespaces': [], 'processes': [], 'mounts': [], 'interfaces': []})

    def test_a_cluster_with_jobs_is_taken_down_and_another_one_keeps_running(self):
        first, second = self.folders
        environment, other = self.up(first), self.up(second)
        traces = Traces(first)
        run('sbatch', '--nodes=2', '--output=/dev/null', '--wrap=srun --mpi=none sleep 1000', env=environment)
        client = subprocess.Popen(['srun', '--nodes=1', '--mpi=none', 'sleep', '1000'], env=environment)
        wait_for('three tasks', lambda: traces.names().count('sleep') == 3, 60)
        while_up = traces.look()
        for kind, found in while_up.items():
            self.assertTrue(found, f'no {kind} seen while it is up: this test sees nothing')
        self.assertEqual(len(while_up['namespaces']), 2)
        down = cluster('down', first)
        self.assertEqual(down.returncode, 0, down.stdout)
        client.wait(timeout=10)
        self.assert_nothing_is_left(traces)
        # The other cluster still works, and a new one can be started in the same folder.
        names = run('srun', '--nodes=2', '--mpi=none', 'hostname', env=self.up(first)).stdout.split()
        self.assertEqual(sorted(names), ['n1', 'n2'])
        cluster('down', first)
        names = run('srun', '--nodes=2', '--mpi=none', 'hostname', env=other).stdout.split()
        self.assertEqual(sorted(names), ['n1', 'n2'])
        cluster('down', second)
        self.assert_nothing_is_left(Traces(second))

    def test_a_crashed_daemon_of_a_node_is_restarted(self):
        environment = self.up(self.folders[0])
        traces = Traces(self.folders[0])
        before = [line for line in traces.look()['processes'] if line.endswith(' slurmd')]
        for line in before:
            os.kill(int(line.split()[0]), signal.SIGABRT)
        wait_for('two others', lambda: len([line for line in traces.look()['processes'] if line.endswith(' slurmd') and
                                            line not in before]) == 2, 20)
        names = run('srun', '--nodes=2', '--mpi=none', 'hostname', env=environment).stdout.split()
        self.assertEqual(sorted(names), ['n1', 'n2'])

    def test_a_cluster_whose_start_was_killed_is_taken_down(self):
        folder, tries, alive = self.folders[0], 8, 0
        traces = Traces(folder)
        for i in range(tries):
            up = subprocess.Popen([harness.CLUSTER, 'up', folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  start_new_session=True)
            time.sleep(0.05 + 0.08 * i)
            if up.poll() is None:
                os.kill(up.pid, signal.SIGKILL)  # not the processes that it has started
                alive += 1
            up.wait()
            down = cluster('down', folder)
            self.assertEqual(down.returncode, 0, down.stdout)
            self.assert_nothing_is_left(traces)
        self.assertGreaterEqual(alive, tries // 2)
        self.up(folder)  # nothing left behind prevents a new start
        print(f'{alive} half-built clusters were taken down')

    def test_a_cluster_whose_test_was_killed_is_taken_down(self):
        code = ('import harness, time\n'
                'print(harness.Cluster(2).folder, flush=True)\n'
                'time.sleep(1000)')
        test = subprocess.Popen([sys.executable, '-B', '-c', code], cwd=pathlib.Path(__file__).parent, text=True,
                                stdout=subprocess.PIPE)
        folder = pathlib.Path(test.stdout.readline().strip())
        traces = Traces(folder)
        self.assertTrue(traces.look()['namespaces'])
        test.kill()
        test.wait()
        test.stdout.close()
        wait_for('the folder to be gone', lambda: not folder.parent.exists(), 60)
        self.assert_nothing_is_left(traces)

    def test_invalid_actions_are_refused(self):
        for arguments, code in ((['up'], 2), (['fly', self.folders[0]], 1), (['kill-node', self.folders[0], 'x'], 1)):
            wrong = subprocess.run([harness.CLUSTER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(wrong.returncode, code, wrong.stdout)

    def test_without_root_or_packages_it_is_skipped(self):
        for command, word in ((['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'], 'not root'),
                              (['env', 'PATH=/usr/bin:/bin'], 'slurmctld is missing'),
                              (['setpriv', '--bounding-set=-sys_admin,-net_admin', '--inh-caps=-all'], 'not permitted')):
            with tempfile.TemporaryDirectory() as folder:
                os.chmod(folder, 0o777)
                done = subprocess.run([*command, 'bash', '-s', 'up', folder], input=harness.CLUSTER.read_text(),
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                self.assertEqual(done.returncode, harness.SKIPPED, done.stdout)
                self.assertIn(word, done.stdout)
                self.assertEqual(done.stdout.count('\n'), 1, done.stdout)
                self.assert_nothing_is_left(Traces(folder))


if __name__ == '__main__':
    harness.skip_without_a_cluster()
    unittest.main(verbosity=2)
