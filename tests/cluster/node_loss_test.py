"""Nodes that die, and nodes that are only cut off, where the earlier start of the job keeps running beside the new one.
MASKEDKD_NODE_KILLS and MASKEDKD_LINK_CUTS set the counts.
"""
import os
import signal
import sys
import time
import unittest

import harness
from harness import count, newest_step, wait_for

EPOCHS = '40'  # 8 steps each


class NodeLoss(harness.ClusterTest):
    @classmethod
    def setUpClass(cls):
        cls.prepare(harness.Work(cluster), EPOCHS)

    def setUp(self):
        wait_for('all nodes', cluster.idle, 90)

    def begin(self, name, nodes):
        job = self.work.submit(name, '--epochs', EPOCHS, flags=[f'--nodes={nodes}'])
        job.wait_for('a checkpoint', lambda: newest_step(self.work.folder(name)) >= 20, 90)
        self.assertEqual(job.state(), 'RUNNING', job.output()[-2000:])
        return job

    def test_a_run_resumes_elsewhere_when_its_node_dies(self):
        kills = count('MASKEDKD_NODE_KILLS', 1)
        took = []
        for i in range(kills):
            name = f'killed-{i}'
            job = self.begin(name, 2)
            node = job.nodes()[i % 2]  # or the node of rank 0 and the batch script
            began = time.time()
            cluster.act('kill-node', node)
            job.wait_for('the requeue', lambda: job.restarts() > 0, 90)
            took.append(time.time() - began)
            cluster.act('revive-node', node)
            self.assertEqual(job.wait_until_ended(180), 0, job.output()[-3000:])
            self.assert_same_run(self.expected, self.work.folder(name))
            wait_for('all nodes', cluster.idle, 90)
        print(f'{kills} nodes killed, all runs resumed elsewhere and finished with the same bits; requeued after '
              f'{max(took):.0f} s at most')

    def test_a_start_on_a_node_that_is_cut_off_changes_nothing(self):
        cuts, places = count('MASKEDKD_LINK_CUTS', 1), 0
        for i in range(cuts):
            name, nodes = f'cut-{i}', 2 - i % 2
            with self.subTest(nodes=nodes, run=name):
                places += self.cut_off(name, nodes)
        print(f'{cuts} nodes cut off with rank 0 alive: it changed none of {places} files and folders any more and ended '
              f'itself, the new start finished with the same bits')

    def cut_off(self, name, nodes):
        """Cuts off the node of rank 0 and of the job script. Returns how many files and folders the run then has."""
        job = self.begin(name, nodes)
        folder = self.work.folder(name)
        node = job.nodes()[0]
        old, = cluster.processes(node, 'maskedkd_train')
        # Stopped, so that a run on one node does not finish before the cluster gives the node up.
        os.kill(old, signal.SIGSTOP)
        cluster.act('cut-link', node)
        job.wait_for('the requeue', lambda: job.restarts() > 0, 120)
        leases = folder / '.lease'
        job.wait_for('the new start', lambda: sorted(path.name for path in leases.glob('0*')) == ['000000002'], 60)
        self.assertNotIn(node, job.nodes())
        self.assertEqual(cluster.processes(node, 'maskedkd_train'), [old], 'the old one lives, behind a dead link')

        # While the new start is stopped, every change in the run's folder is made by the old one.
        new = [pid for other in job.nodes() for pid in cluster.processes(other, 'maskedkd_train')]
        self.assertEqual(len(new), nodes)
        for pid in new:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(0.2)
        before = everything_below(folder)
        os.kill(old, signal.SIGCONT)
        wait_for('the old start to end itself', lambda: not cluster.processes(node, 'maskedkd_train'), 40)
        self.assertEqual(before, everything_below(folder), 'the old one wrote after the new one had begun')
        for pid in new:
            os.kill(pid, signal.SIGCONT)

        self.assertEqual(job.wait_until_ended(180), 0, job.output()[-3000:])
        cluster.act('mend-link', node)
        self.assertIn('has taken over its folder', job.output())
        self.assert_same_run(self.expected, folder)
        wait_for('all nodes', cluster.idle, 90)
        time.sleep(2)
        self.assertEqual(job.restarts(), 1, 'the old job script put it back')
        return len(before)


def everything_below(folder):
    """Each file and folder with values that change when it is written, replaced or removed from."""
    found = {}
    for path in [folder, *folder.rglob('*')]:
        stat = path.lstat()
        found[str(path)] = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return found


cluster = None
if __name__ == '__main__':
    cluster = harness.Cluster(nodes=3)
    unittest.main(argv=sys.argv, verbosity=2)
