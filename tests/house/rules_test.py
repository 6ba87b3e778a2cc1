"""The checkout follows every rule of rules.py, and each rule finds a violation: python rules_test.py ROOT"""
import graphlib
import pathlib
import sys
import tempfile
import unittest

import rules

ROOT = pathlib.Path(sys.argv.pop(1)) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]


class ThisCheckout(unittest.TestCase):
    def test_follows_every_rule(self):
        for check in rules.ALL:
            with self.subTest(check.__name__):
                self.assertEqual([], check(ROOT))

    def test_rules_see_its_modules_and_scripts(self):
        modules = {rules.module_of(ROOT, path) for path in rules.cpp_files(ROOT)}
        self.assertLessEqual(set(rules.DEPENDENCIES), modules)
        self.assertEqual(rules.linked_modules(ROOT, 'cli'), {'comm', 'base'})
        self.assertIn(ROOT / 'env' / 'install.sh', list(rules.shell_scripts(ROOT)))
        self.assertLessEqual(modules, set(rules.DEPENDENCIES))


class Dependencies(unittest.TestCase):
    def test_go_down_only(self):
        order = list(graphlib.TopologicalSorter(rules.DEPENDENCIES).static_order())  # raises on a cycle
        self.assertEqual(set(order), set(rules.DEPENDENCIES))

    def test_data_and_checkpoint_never_reach_comm(self):
        def reach(module):
            return {module}.union(*(reach(target) for target in rules.DEPENDENCIES[module]))
        for module in ('shards', 'codecs', 'augment', 'kernels', 'data', 'checkpoint', 'model', 'distill', 'io'):
            self.assertNotIn('comm', reach(module))


class Breaches(unittest.TestCase):
    """Small trees that violate one rule, which must be found; before the change no violation is found."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write('CMakeLists.txt', 'project(x)\n')
        self.write('include/maskedkd/io/a.hpp', '#include "maskedkd/base/error.hpp"\n#include <vector>\n')
        self.write('src/io/CMakeLists.txt', 'maskedkd_module(io SOURCES a.cpp\n  LINKS maskedkd_base ZLIB::ZLIB)\n')
        self.write('src/io/a.cpp', '#include "maskedkd/io/a.hpp"\n#include "local.hpp"\n')
        self.write('src/io/local.hpp', '')
        self.write('src/codecs/CMakeLists.txt', 'maskedkd_module(codecs SOURCES b.cpp LINKS maskedkd_io maskedkd_base)\n')
        self.write('src/codecs/b.cpp', '#include "maskedkd/io/a.hpp"\n#include <jpeglib.h>\n')
        self.write('jobs/train.sh', '#!/bin/bash\nif true; then echo yes; fi\n')
        self.assertEqual([], self.complaints())

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def complaints(self):
        return [complaint for check in rules.ALL for complaint in check(self.root)]

    def assert_found(self, *parts):
        found = self.complaints()
        self.assertEqual(1, len(found), found)
        for part in parts:
            self.assertIn(part, found[0])

    def test_finds_a_dependency_upwards(self):
        self.write('src/io/up.cpp', '\n#include "maskedkd/codecs/image.hpp"\n')
        self.assert_found('src/io/up.cpp:2', 'io must not include codecs')

    def test_finds_a_dependency_upwards_in_angle_brackets_with_blanks(self):
        self.write('include/maskedkd/data/x.hpp', ' #  include <maskedkd/comm/mpi_session.hpp>\n')
        self.assert_found('include/maskedkd/data/x.hpp:1', 'data must not include comm')

    def test_finds_a_dependency_on_preprocess(self):
        self.write('src/data/c.cpp', '#include "preprocess/packer.hpp"\n')
        self.assert_found('data must not include preprocess')

    def test_finds_an_include_by_a_relative_path(self):
        self.write('src/data/c.cpp', '#include "../comm/backends.hpp"\n')
        self.assert_found('src/data/c.cpp:1', 'no header of its own folder')

    def test_finds_an_unknown_module(self):
        self.write('src/misc/c.cpp', '')
        self.assert_found('no module is called misc')

    def test_finds_an_include_without_its_link(self):
        self.write('src/codecs/CMakeLists.txt', 'maskedkd_module(codecs SOURCES b.cpp LINKS maskedkd_base)  # maskedkd_io\n')
        self.assert_found('does not link maskedkd_io')

    def test_finds_a_link_that_is_no_dependency(self):
        self.write('src/data/CMakeLists.txt',
                   'maskedkd_module(data SOURCES b.cpp\n LINKS maskedkd_io\n maskedkd_comm maskedkd_base)\n')
        self.assert_found('links maskedkd_comm')

    def test_finds_includes_of_wrapped_libraries(self):
        for header in ('boost/program_options.hpp', 'hdf5.h', 'mpi.h', 'openssl/evp.h', 'torch/torch.h'):
            with self.subTest(header):
                self.write('src/data/c.cpp', f'#include <{header}>\n')
                self.assert_found('src/data/c.cpp:1', header)

    def test_finds_a_long_file(self):
        self.write('src/io/long.cpp', '\n' * 400)
        self.assertEqual([], self.complaints())
        self.write('src/io/long.cpp', '\n' * 401)
        self.assert_found('src/io/long.cpp', '401 lines')

    def test_finds_a_class_with_many_data_members(self):
        fifteen = ''.join(f'  std::map<int, double> m{i}_ = {{}};\n' for i in range(13)) + '  int a_ = 1, b_{2};\n'
        methods = '  void f() { int x_ = 1; }\n  std::function<void(int)> g(int y_);\n'
        self.write('src/io/class.cpp', f'class Some final : public Other {{\n{methods}{fifteen}}};\n')
        self.assertEqual([], self.complaints())
        self.write('src/io/class.cpp', f'class Some final : public Other {{\n{methods}{fifteen}  int c_;\n}};\n')
        self.assert_found('src/io/class.cpp', 'Some has 16 data members')

    def test_finds_a_long_root_cmake_file(self):
        self.write('CMakeLists.txt', '\n' * 100)
        self.assert_found('CMakeLists.txt', '100 lines')

    def test_finds_a_new_name_at_the_top(self):
        for name in ('.clang-tidy', 'README.md', 'build-gpu/x', 'runs/1/log.txt'):
            self.write(name, '')
        self.assertEqual([], self.complaints())
        self.write('scripts/run.sh', '')
        self.assert_found('scripts')

    def test_finds_batch_files_that_differ_in_how_they_find_the_repository(self):
        search = '# Slurm runs a copy of this file\ncd "$root"\nsource jobs/lib.sh\n'
        for name in ('a', 'b', 'c'):
            self.write(f'jobs/{name}.sbatch', f'#!/bin/bash\n{search}run {name}\n')
        self.assertEqual([], self.complaints())
        self.write('jobs/b.sbatch', '#!/bin/bash\n' + search.replace('$root', '..'))
        self.assert_found('jobs/b.sbatch')

    def test_finds_a_script_that_bash_does_not_parse(self):
        self.write('jobs/broken', '#!/usr/bin/env bash\nif true; then\n')
        self.assert_found('jobs/broken')


if __name__ == '__main__':
    unittest.main()
