"""The results of jobs/compare.sh: python3 compare_table.py FOLDER ARM,... SEED,... [TEACHER.json]

Reads FOLDER/ARM-SEED/log.txt of each run and prints, for each arm, the accuracy after the last epoch (mean and standard
deviation over the seeds) and the difference to no teacher, then the time of a step. Runs of a seed begin with the same
weights and see the same batches, so the differences are taken seed by seed; given are their mean and its standard error.
Writes both tables to FOLDER/table.txt and FOLDER/times.txt, and accuracy against time to FOLDER/accuracy.svg. With the
figures of maskedkd_evaluate --output for the teacher, prints one table of both that begins with the teacher.
"""

import json
import math
import pathlib
import statistics
import sys

NAMES = {'none': 'no teacher', 'whole': 'whole teacher', 'keep75': 'masked, 75 %', 'keep50': 'masked, 50 %',
         'keep25': 'masked, 25 %', 'random50': 'random 50 %', 'lowest50': 'lowest 50 %'}


def read_json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


class Run:
    """One training. problem: why it has no result yet, else None."""

    def __init__(self, folder):
        lines = []
        try:
            for line in (folder / 'log.txt').read_text().splitlines():
                lines.append(json.loads(line))
        except (OSError, ValueError):  # not started, or killed while it wrote a line
            pass
        last = lines[-1] if lines else {}
        self.accuracy = last.get('test_acc1')
        self.patches = last.get('kept_patches')
        self.rates = [line['images_per_second'] for line in lines if line.get('images_per_second')]
        self.problem = None
        if not (folder / 'finished.json').is_file():
            self.problem = self.unfinished(folder, len(lines))
        elif self.accuracy is None:
            self.problem = 'finished without an evaluation'

    @staticmethod
    def unfinished(folder, epochs):
        code = read_json(folder.with_name(folder.name + '.failed'))
        if code is not None:
            return f'failed with exit code {code}'
        if (read_json(folder / 'status.json') or {}).get('state') == 'failed':
            return 'failed'
        return f'not finished, {epochs} epochs so far' if folder.exists() else 'not started'


class Arm:
    """The finished runs of one arm."""

    def __init__(self, runs):  # by seed
        self.accuracies = {seed: run.accuracy for seed, run in runs.items()}
        self.mean = statistics.mean(self.accuracies.values())
        self.deviation = statistics.stdev(self.accuracies.values()) if len(runs) > 1 else None
        self.patches = next(iter(runs.values())).patches
        rates = [rate for run in runs.values() for rate in run.rates]
        self.rate = statistics.median(rates) if rates else None  # images/s

    def gain_over(self, base):
        """Mean difference over the seeds that both have finished, with its standard error where there are several."""
        gains = [self.accuracies[seed] - base.accuracies[seed] for seed in self.accuracies if seed in base.accuracies]
        if not gains:
            return '-'
        error = f' +- {statistics.stdev(gains) / math.sqrt(len(gains)):.2f}' if len(gains) > 1 else ''
        return f'{statistics.mean(gains):+.2f}{error}'


def format_table(header, rows):
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ('  '.join(cell.ljust(width) if i == 0 else cell.rjust(width)
                       for i, (cell, width) in enumerate(zip(row, widths))) for row in [header, *rows])
    return ''.join(line.rstrip() + '\n' for line in lines)


def patches_of(arm, arms):
    if arm.patches is None:
        return '-'
    return f'{arm.patches} of {arms["whole"].patches}' if 'whole' in arms else str(arm.patches)


def time_of(arm, arms):
    """Time of a step, where that of a step without a teacher is 1."""
    base = arms.get('none')
    return base.rate / arm.rate if base and base.rate and arm.rate else None


def accuracy_table(arms):
    rows = []
    for name, arm in arms.items():
        deviation = '' if arm.deviation is None else f' +- {arm.deviation:.2f}'
        gain = arm.gain_over(arms['none']) if 'none' in arms and name != 'none' else '-'
        rows.append([NAMES[name], f'{arm.mean:.2f}{deviation}', str(len(arm.accuracies)), patches_of(arm, arms), gain])
    return format_table(['', 'acc@1 %', 'seeds', 'teacher saw', 'against no teacher'], rows)


def time_table(arms):
    rows = []
    for name, arm in arms.items():
        time = time_of(arm, arms)
        share = f'{max(0, 100 * (1 - 1 / time)):.0f} %' if time and name != 'none' else '-'
        rows.append([NAMES[name], f'{arm.rate:.0f}' if arm.rate else '-', f'{time:.2f}' if time else '-', share])
    return format_table(['', 'images/s', 'time of a step', "teacher's share"], rows)


def joined_table(arms, teacher):
    rows = [['teacher', f'{teacher["test_acc1"]:.2f}', '', '', '']]
    for name, arm in arms.items():
        time = time_of(arm, arms)
        rows.append([f'student, {NAMES[name]}', f'{arm.mean:.2f}', patches_of(arm, arms),
                     f'{arm.rate:.0f}' if arm.rate else '-', f'{time:.2f}' if time else '-'])
    return format_table(['', 'acc@1 %', 'teacher saw', 'images/s', 'time of a step'], rows)


def ticks(low, high):
    """Round numbers between low and high, at most six, and their format."""
    power = math.floor(math.log10((high - low) / 6))
    step = next(factor * 10 ** power for factor in (1, 2, 5, 10) if (high - low) / (factor * 10 ** power) <= 6)
    values = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [(value, f'{value:.{max(0, -math.floor(math.log10(step)))}f}') for value in values]


def figure(arms):
    """SVG: a point for each arm, with its deviation."""
    points = [(time_of(arm, arms), arm.mean, arm.deviation or 0, NAMES[name]) for name, arm in arms.items()
              if time_of(arm, arms)]
    if not points:
        return None
    width, height, left, right, top, bottom = 640, 400, 64, 120, 24, 56
    low_x, high_x = min(p[0] for p in points), max(p[0] for p in points)
    low_y, high_y = min(p[1] - p[2] for p in points), max(p[1] + p[2] for p in points)
    margin_x, margin_y = (high_x - low_x) * 0.08 + 0.02, (high_y - low_y) * 0.1 + 0.05
    low_x, high_x, low_y, high_y = low_x - margin_x, high_x + margin_x, low_y - margin_y, high_y + margin_y

    def x(value):
        return left + (value - low_x) / (high_x - low_x) * (width - left - right)

    def y(value):
        return height - bottom - (value - low_y) / (high_y - low_y) * (height - top - bottom)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
             'font-size="13">', f'<rect width="{width}" height="{height}" fill="white"/>']
    for value, text in ticks(low_x, high_x):
        parts.append(f'<text x="{x(value):.1f}" y="{height - bottom + 18}" text-anchor="middle">{text}</text>')
    for value, text in ticks(low_y, high_y):
        parts.append(f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{text}</text>')
        parts.append(f'<path d="M{left} {y(value):.1f}H{width - right}" stroke="#ddd"/>')
    parts.append(f'<path d="M{left} {top}V{height - bottom}H{width - right}" fill="none" stroke="#444"/>')
    middle = (top + height - bottom) / 2
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 12}" text-anchor="middle">time of a step '
                 '(1: no teacher)</text>')
    parts.append(f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">'
                 'accuracy, %</text>')
    lowest_label = -math.inf
    for time, mean, deviation, name in sorted(points, key=lambda point: -point[1]):
        label = max(y(mean) + 4, lowest_label + 15)  # below the label above it
        lowest_label = label
        parts.append(f'<path d="M{x(time):.1f} {y(mean - deviation):.1f}V{y(mean + deviation):.1f}" stroke="#06c" '
                     'stroke-width="2"/>')
        parts.append(f'<circle cx="{x(time):.1f}" cy="{y(mean):.1f}" r="5" fill="#06c"/>')
        parts.append(f'<path d="M{x(time):.1f} {y(mean):.1f}L{x(time) + 12:.1f} {label - 4:.1f}" stroke="#06c" '
                     'stroke-width="0.5"/>')
        parts.append(f'<text x="{x(time) + 14:.1f}" y="{label:.1f}">{name}</text>')
    return '\n'.join(parts + ['</svg>']) + '\n'


def main():
    folder, names, seeds = pathlib.Path(sys.argv[1]), sys.argv[2].split(','), sys.argv[3].split(',')
    if not folder.is_dir():
        sys.exit(f'there is no comparison in {folder} yet')
    runs = {name: {seed: Run(folder / f'{name}-{seed}') for seed in seeds} for name in names}
    arms = {}
    for name in names:
        finished = {seed: run for seed, run in runs[name].items() if run.problem is None}
        if finished:
            arms[name] = Arm(finished)
    missing = ''.join(f'{NAMES[name]}, seed {seed}: {run.problem}\n' for name in names
                      for seed, run in runs[name].items() if run.problem is not None)
    accuracies, times, drawing = accuracy_table(arms) + missing, time_table(arms), figure(arms)
    (folder / 'table.txt').write_text(accuracies)
    (folder / 'times.txt').write_text(times)
    if len(sys.argv) > 4:
        print(joined_table(arms, json.loads(pathlib.Path(sys.argv[4]).read_text())) + missing, end='')
    else:
        print(accuracies + '\n' + times, end='')
    if drawing:
        (folder / 'accuracy.svg').write_text(drawing)


main()
