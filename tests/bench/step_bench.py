"""Compares a training step with the same step in eager PyTorch with timm's models, alternating.

  step_bench.py PROGRAM [--threads 2] [--batch 128] [--keep 98] [--rounds 5] [--steps 1] [--clock wall|cpu]
                [--sides this,fused,official,compiled] [--device cpu|cuda]
       measures, prints a table
  step_bench.py --weights FOLDER                              writes the weights that step_bench reads
  step_bench.py --serve PRECISION BATCH KEEP THREADS DEVICE   the PyTorch side

The eager step is the official one: mixed batch, student with the attention of its last block, the k patches that it attends to
most, teacher on those under the same precision, soft distillation, AdamW in DeiT's two groups. Its images are already
normalised, which the official loader does; step_bench.cpp normalises inside its step.

  this      step_bench.cpp
  fused     eager, timm calls scaled_dot_product_attention
  official  eager, timm without fused attention (TIMM_FUSED_ATTN=0), as the official code does
  compiled  the same through torch.compile: the fastest that PyTorch has for this step

Pages: pages that a step touches for the first time (minor page faults per image); memory: the largest resident size."""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time


def build(name, **kwargs):
    import timm
    import torch

    torch.manual_seed(len(name))
    model = timm.create_model(name, **kwargs)
    for key, parameter in model.named_parameters():  # LayerScale as large as in a trained teacher
        if key.endswith("gamma"):
            torch.nn.init.constant_(parameter, 0.1)
    return model


STUDENT, TEACHER = "deit_tiny_patch16_224", "deit3_small_patch16_224"


def student_forward(model, x):
    """logits and the class attention of the last block, which is computed without a fused kernel"""
    import torch

    x = model.patch_embed(x)
    x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], 1) + model.pos_embed
    for block in model.blocks[:-1]:
        x = block(x)
    last = model.blocks[-1]
    qkv = last.attn.qkv(last.norm1(x)).unflatten(2, (3, last.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    attention = (qkv[0] * last.attn.scale @ qkv[1].transpose(-2, -1)).softmax(-1)
    x = x + last.drop_path1(last.attn.proj((attention @ qkv[2]).transpose(1, 2).flatten(2)))
    x = x + last.drop_path2(last.mlp(last.norm2(x)))
    return model.head(model.norm(x)[:, 0]), attention[:, :, 0, 1:].detach().mean(1)


def teacher_forward(model, x, kept):
    import torch

    x = model.patch_embed(x) + model.pos_embed
    x = x.gather(1, kept[:, :, None].expand(-1, -1, x.shape[2]))
    x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], 1)
    return model.head(model.norm(model.blocks(x))[:, 0])


def serve(precision, batch, keep, threads, device):
    import resource

    import timm.data
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    look = torch.compile(student_forward) if os.environ.get("STEP_BENCH_COMPILE") else student_forward
    teach = torch.compile(teacher_forward) if os.environ.get("STEP_BENCH_COMPILE") else teacher_forward
    student, teacher = build(STUDENT, drop_path_rate=0.1).train(), build(TEACHER).eval().requires_grad_(False)
    student, teacher = student.to(device), teacher.to(device)
    plain = [p for n, p in student.named_parameters() if p.dim() < 2 or n in ("pos_embed", "cls_token")]
    decayed = [p for n, p in student.named_parameters() if not (p.dim() < 2 or n in ("pos_embed", "cls_token"))]
    optimizer = torch.optim.AdamW([{"params": decayed}, {"params": plain, "weight_decay": 0.0}], lr=1e-4, weight_decay=0.05)
    mixup = timm.data.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=1000)
    images, labels = torch.randn(batch, 3, 224, 224), torch.randint(1000, (batch,))
    if device == "cuda":  # as the official loader delivers them
        images, labels = images.pin_memory(), labels.pin_memory()

    def step():
        mixed, targets = images.to(device, non_blocking=True, copy=True), labels.to(device, non_blocking=True)
        mixed, targets = mixup(mixed, targets)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            logits, attention = look(student, mixed)
            with torch.no_grad():
                taught = teach(teacher, mixed, attention.topk(keep, dim=1).indices)
            loss = torch.sum(-targets * F.log_softmax(logits, -1), -1).mean()
            loss = 0.5 * loss + 0.5 * F.kl_div(F.log_softmax(logits, 1), F.log_softmax(taught, 1), reduction="batchmean",
                                               log_target=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    for line in sys.stdin:
        begin, processor = time.perf_counter(), time.process_time()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(int(line)):
            loss = step()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        print(f"{time.perf_counter() - begin:.6f} {time.process_time() - processor:.6f} {loss:.6f} "
              f"{usage.ru_minflt - faults} {usage.ru_maxrss // 1024}", flush=True)


class Served:
    def __init__(self, command, clock, environment):
        self.column = ("wall", "cpu").index(clock)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=os.environ | environment)
        self.run(2)  # warm-up: compiles and allocates

    def run(self, steps):
        """seconds, page faults, largest resident memory in MB"""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        return float(answer[self.column]), int(answer[3]), int(answer[4])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def write_weights(folder):
    from safetensors.torch import save_file

    for name, file in ((STUDENT, "student"), (TEACHER, "teacher")):
        save_file(build(name).state_dict(), pathlib.Path(folder) / f"{file}.safetensors")


def measure(options):
    with tempfile.TemporaryDirectory() as folder:
        write_weights(folder)
        print(f"{options.device}: {STUDENT} from {TEACHER}, batch {options.batch}, {options.keep} of 196 patches, {options.threads} threads; "
              f"median of {options.rounds} rounds of {options.steps} steps, in turns, {options.clock} time")
        print(f"{'precision':10}{'':10}{'img/s':>8}{'this is':>10}{'(rounds)':>18}{'faults/img':>12}{'memory, MB':>12}")
        for precision in options.precisions.split(","):
            arguments = [precision, str(options.batch), str(options.keep), str(options.threads), options.device]
            eager = [sys.executable, __file__, "--serve", *arguments]
            ways = {"this": ([options.program, folder, *arguments], {}),
                    "fused": (eager, {"TIMM_FUSED_ATTN": "1"}),
                    "official": (eager, {"TIMM_FUSED_ATTN": "0"}),
                    "compiled": (eager, {"TIMM_FUSED_ATTN": "0", "STEP_BENCH_COMPILE": "1"})}
            sides = {name: Served(ways[name][0], options.clock, ways[name][1] | {"OMP_NUM_THREADS": str(options.threads)})
                     for name in ["this", *(side for side in options.sides.split(",") if side != "this")]}
            rounds = [{name: side.run(options.steps) for name, side in sides.items()} for _ in range(options.rounds)]
            for side in sides.values():
                side.close()
            images = options.steps * options.batch
            for name in sides:
                seconds = statistics.median(turn[name][0] for turn in rounds)
                faults = statistics.median(turn[name][1] for turn in rounds) / images
                # The median of the rounds' ratios: other load on the machine affects both sides of a round alike.
                ratios = sorted(turn[name][0] / turn["this"][0] for turn in rounds)
                print(f"{precision:10}{name:10}{images / seconds:8.1f}{statistics.median(ratios):8.2f} x"
                      f"{f'({ratios[0]:.2f} .. {ratios[-1]:.2f})':>18}{faults:12.1f}{rounds[-1][name][2]:12}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], *map(int, sys.argv[3:6]), sys.argv[6])
    elif sys.argv[1:2] == ["--weights"]:
        write_weights(sys.argv[2])
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("program")
        for key, value in (("threads", 2), ("batch", 128), ("keep", 98), ("rounds", 5), ("steps", 1)):
            parser.add_argument(f"--{key}", type=int, default=value)
        # cpu, with one thread, is less affected by other processes on the machine
        parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
        parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        parser.add_argument("--precisions", default="fp32,bf16")
        parser.add_argument("--sides", default="this,fused,official,compiled")
        measure(parser.parse_args())
