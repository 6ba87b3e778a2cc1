"""One step of MaskedKD in PyTorch and timm, fp32, with erasing, mixing and drop path as decided by the caller.

    random_step.py REFERENCE_FOLDER DECISIONS.safetensors STEP.safetensors

B images, N patches, K kept, L blocks. Decisions: images [B, S, S, 3] uint8, labels [B], lambdas [B] (the share of an
image that stays its own), boxes [B, 5] (1 where it is cut: top, left, height, width of what its partner B - 1 - i
pastes), uniforms [L, 2, B] of drop path, erasure.I.J.box [4] and .noise [3, height, width] of image I; seen [B, K]: the
patches that the student sees of each image, then without a teacher."""

import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from step_parts import ClassAttention, clear_top, normalised, small_student, small_teacher, teacher_logits

SMOOTHING, ALPHA, KEEP, RATE = 0.1, 0.5, 14, 0.4


class GivenDropPath(torch.nn.Module):
    """x / keep * floor(keep + U), U per image, as timm's DropPath with its random numbers given."""

    def __init__(self, rate, uniforms):
        super().__init__()
        self.factors = (1 - rate + uniforms).floor() / (1 - rate)  # [B]

    def forward(self, x):
        return x * self.factors[:, None, None]


class GivenPatches(torch.nn.Module):
    """Keeps the class token and the patches seen [B, K], as timm's PatchDropout with its random numbers given."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, x):
        return torch.cat([x[:, :1], x[:, 1:].gather(1, self.seen[..., None].expand(-1, -1, x.shape[2]))], 1)


def erased(images, decisions):
    images = images.clone()
    for i in range(len(images)):
        for j in range(9):
            if f"erasure.{i}.{j}.box" not in decisions:
                break
            top, left, height, width = decisions[f"erasure.{i}.{j}.box"].tolist()
            images[i, :, top:top + height, left:left + width] = decisions[f"erasure.{i}.{j}.noise"]
    return images


def mixed(images, decisions):
    result, partners = images.clone(), images.flip(0)
    for i, (cut, top, left, height, width) in enumerate(decisions["boxes"].tolist()):
        if cut:
            rows, columns = slice(top, top + height), slice(left, left + width)
            result[i, :, rows, columns] = partners[i, :, rows, columns]
        else:
            share = decisions["lambdas"][i].item()
            result[i] = images[i] * share + partners[i] * (1 - share)
    return result


def targets_of(labels, lambdas, classes):
    off = SMOOTHING / classes
    one_hot = torch.full((len(labels), classes), off)
    one_hot.scatter_(1, labels[:, None], 1 - SMOOTHING + off)
    shares = lambdas.float()[:, None]
    return one_hot * shares + one_hot.flip(0) * (1 - shares)


def distillation_loss(student, teacher, images, targets):
    attention = ClassAttention(student)
    logits = student(images)
    shown = F.interpolate(images, 42, mode="bicubic", antialias=True, align_corners=False)
    scores = F.interpolate(attention.value.reshape(-1, 1, 4, 4), 6, mode="bilinear", antialias=True,
                           align_corners=False).flatten(1)  # [B, N]
    taught = teacher_logits(teacher, shown, clear_top(scores, KEEP))
    return (1 - ALPHA) * -(targets * logits.log_softmax(-1)).sum(-1).mean() + ALPHA * F.kl_div(
        logits.log_softmax(-1), taught.log_softmax(-1), reduction="batchmean", log_target=True)


def main():
    folder, decisions = pathlib.Path(sys.argv[1]), load_file(sys.argv[2])
    student, teacher = small_student(32, 8), small_teacher(42, 7)
    student.load_state_dict(load_file(folder / "finer_teacher_student.safetensors"))
    teacher.load_state_dict(load_file(folder / "teacher_42_7.safetensors"))
    teacher.eval()
    rates = torch.linspace(0, RATE, len(student.blocks)).tolist()
    for block, rate, (first, second) in zip(student.blocks, rates, decisions["uniforms"]):
        block.drop_path1, block.drop_path2 = GivenDropPath(rate, first), GivenDropPath(rate, second)

    images = mixed(erased(normalised(decisions["images"]), decisions), decisions)
    targets = targets_of(decisions["labels"], decisions["lambdas"], student.num_classes)
    if "seen" in decisions:
        student.patch_drop = GivenPatches(decisions["seen"])
        loss = -(targets * student(images).log_softmax(-1)).sum(-1).mean()
    else:
        loss = distillation_loss(student, teacher, images, targets)
    loss.backward()
    save_file({"loss": loss.detach().double()} | {f"gradient.{n}": p.grad for n, p in student.named_parameters()},
              sys.argv[3])


main()
