"""Nodes that die, and nodes that are only cut off, where an old start of the job lives on beside the new one. Full
counts: MASKEDKD_NODE_KILLS=10 MASKEDKD_LINK_CUTS=10.
"""
import os
import signal
import sys
import time
import unittest

import harness
from harness import count, newest_step, status, wait_for

EPOCHS = '60'  # 8 steps each


class NodeLoss(harness.ClusterTest):
    @classmethod
    def setUpClass(cls):
        cls.work = harness.Work(cluster)
        cls.work.pack()
        cls.work.train_teacher()
        cls.expected = cls.work.undisturbed('--epochs', EPOCHS)

    def setUp(self):
        wait_for('all nodes', cluster.idle, 90)

    def begin(self, name, nodes):
        job = self.work.submit(name, '--epochs', EPOCHS, flags=[f'--nodes={nodes}'])
        wait_for('a checkpoint', lambda: newest_step(self.work.folder(name)) >= 20, 90)
        self.assertEqual(job.state(), 'RUNNING', job.output()[-2000:])
        return job

    def test_a_node_that_dies(self):
        kills = count('MASKEDKD_NODE_KILLS', 1)
        took = []
        for i in range(kills):
            name = f'killed-{i}'
            job = self.begin(name, 2)
            node = job.nodes()[i % 2]  # the one of rank 0 and of the batch script too
            began = time.time()
            cluster.act('kill-node', node)
            wait_for('the requeue', lambda: job.restarts() > 0, 90)
            took.append(time.time() - began)
            cluster.act('revive-node', node)
            self.assertEqual(job.wait_until_ended(180), 0, job.output()[-3000:])
            self.assert_same_run(self.expected, self.work.folder(name))
            wait_for('all nodes', cluster.idle, 90)
        print(f'{kills} nodes killed, all runs went on elsewhere and finished with the same bits; requeued after '
              f'{max(took):.0f} s at most')

    def test_a_node_that_is_cut_off_and_trains_on(self):
        cuts = count('MASKEDKD_LINK_CUTS', 1)
        for i in range(cuts):
            name = f'cut-{i}'
            job = self.begin(name, 1)
            folder = self.work.folder(name)
            node, = job.nodes()
            old, = cluster.processes(node, 'maskedkd_train')
            wait_for('its status', lambda: status(folder).get('generation') == 1, 20)
            # Stopped, so that it does not finish the run by itself before the cluster gives it up.
            os.kill(old, signal.SIGSTOP)
            cluster.act('cut-link', node)
            wait_for('the requeue', lambda: job.restarts() > 0, 120)
            wait_for('the new start', lambda: status(folder).get('generation') == 2, 60)
            self.assertNotEqual(job.nodes(), [node])
            self.assertEqual(cluster.processes(node, 'maskedkd_train'), [old], 'the old one lives, behind a dead link')
            os.kill(old, signal.SIGCONT)
            seen = set()

            def old_one_ended():
                seen.add(status(folder).get('generation', 2))
                return not cluster.processes(node, 'maskedkd_train')
            wait_for('the old start to end itself', old_one_ended, 20)
            self.assertLessEqual(seen, {2}, 'the old one wrote after the new one had begun')
            self.assertEqual(job.wait_until_ended(180), 0, job.output()[-3000:])
            self.assertEqual(job.restarts(), 1)
            cluster.act('mend-link', node)
            self.assertIn('has taken its folder over', job.output())
            self.assert_same_run(self.expected, folder)
            wait_for('all nodes', cluster.idle, 90)
            time.sleep(2)
            self.assertEqual(job.restarts(), 1, 'the old job script put it back')
        print(f'{cuts} nodes cut off with the old start alive: it wrote nothing any more and ended itself, the new one '
              f'finished with the same bits')


cluster = None
if __name__ == '__main__':
    cluster = harness.Cluster(nodes=3)
    unittest.main(argv=sys.argv, verbosity=2)
