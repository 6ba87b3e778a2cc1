"""Five training steps of MaskedKD in PyTorch for each of the cases at the end: the student's initial weights, the
teacher's, images, all losses, the gradient of the first step and its norm before it is clipped, the patches that the
teacher sees in it, the final weights.

    reference.py OUTPUT_FOLDER [cpu|cuda]

On the CPU in fp32, the small models also in bf16 (OUTPUT_FOLDER/bf16); on a GPU all models in both."""

import copy
import pathlib
import sys

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.deit import VisionTransformerDistilled

from step_parts import ClassAttention, clear_top, normalised, small_student, small_teacher, teacher_logits, top

OUT = pathlib.Path(sys.argv[1])
DEVICE = sys.argv[2] if len(sys.argv) > 2 else "cpu"
(OUT / "bf16").mkdir(parents=True, exist_ok=True)
STEPS, SMOOTHING, ALPHA, RATE = 5, 0.1, 0.5, 5e-4


def randomise(model, generator):
    """Attention and outputs that are far from uniform, so that the choice of patches does not depend on rounding."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gamma"):
                parameter.copy_(0.4 + 0.2 * noise)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            elif "token" in name or "pos_embed" in name:
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(noise / (parameter[0].numel() if parameter.dim() > 1 else 100) ** 0.5)
    return model


def fit(images, size):
    if images.shape[2] == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)


def kept_patches(criterion, keep, student_attention, teacher, teacher_attention, images, clear_top):
    if criterion == "teacher":
        with torch.no_grad():
            teacher(images)
        return clear_top(teacher_attention.value, keep)
    attention, grid = student_attention.value, teacher.patch_embed.grid_size[0]
    edge = int(attention.shape[1] ** 0.5)
    if edge != grid:
        attention = F.interpolate(attention.reshape(-1, 1, edge, edge), grid, mode="bilinear", antialias=True,
                                  align_corners=False).flatten(1)
    return clear_top(-attention if criterion == "lowest" else attention, keep)


def make_images(size, batch, generator):
    """Coarse blobs of colour, so that patches differ. [steps, B, S, S, 3] uint8"""
    images = torch.rand(STEPS, batch, 3, 9, 9, generator=generator).flatten(0, 1)
    images = (F.interpolate(images, size, mode="bicubic").clamp(0, 1) * 255).round().to(torch.uint8)
    return images.permute(0, 2, 3, 1).reshape(STEPS, batch, size, size, 3).contiguous()


def write_case(name, student, teacher, keep, batch, seed, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    save_file(randomise(student, generator).state_dict(), OUT / f"{name}_student.safetensors")
    size = student.patch_embed.img_size[0]
    images = make_images(size, batch, generator)
    labels = torch.randint(student.num_classes, (STEPS, batch), generator=generator)
    data = {"images": images, "labels": labels}
    save_file(data | run_steps(copy.deepcopy(student), teacher, keep, images, labels, **kwargs),
              OUT / f"{name}.safetensors")
    if DEVICE == "cuda" or size < 224:
        save_file(run_steps(student, teacher, keep, images, labels, bf16=True, **kwargs),
                  OUT / "bf16" / f"{name}.safetensors")


def run_steps(student, teacher, keep, images, labels, kind="soft", criterion="student", clip=None, bf16=False):
    student, images, labels = student.to(DEVICE), images.to(DEVICE), labels.to(DEVICE)
    distilled = isinstance(student, VisionTransformerDistilled)
    if distilled:
        student.set_distilled_training(kind != "none")
    plain = ("pos_embed", "cls_token", "dist_token")
    no_decay = [p for n, p in student.named_parameters() if p.dim() == 1 or n in plain]
    decay = [p for n, p in student.named_parameters() if not (p.dim() == 1 or n in plain)]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": no_decay, "weight_decay": 0.0}],
                                  lr=RATE)
    student_attention, teacher_attention = ClassAttention(student), ClassAttention(teacher)
    losses, first = [], {}
    for step in range(STEPS):
        seen = normalised(images[step])
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
            output = student(seen)
            logits, second = output if isinstance(output, tuple) else (output, output)
            loss = F.cross_entropy(logits, labels[step], label_smoothing=SMOOTHING)
            if kind != "none":
                shown = fit(seen, teacher.patch_embed.img_size[0])
                kept = kept_patches(criterion, keep, student_attention, teacher, teacher_attention, shown,
                                    top if bf16 else clear_top)
                taught = teacher_logits(teacher, shown, kept)
                if kind == "soft":
                    term = F.kl_div(second.log_softmax(-1), taught.log_softmax(-1), reduction="batchmean",
                                    log_target=True)
                else:
                    term = F.cross_entropy(second, taught.argmax(1))
                loss = (1 - ALPHA) * loss + ALPHA * term
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            first = {f"gradient.{n}": p.grad.clone() for n, p in student.named_parameters()}
            if kind != "none":
                first |= {"kept": kept}
            if clip is not None:
                squares = [p.grad.double().square().sum() for p in student.parameters()]
                first |= {"norm": sum(squares).sqrt()}
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(student.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    final = {f"final.{n}": p.detach().clone() for n, p in student.named_parameters()}
    results = {"losses": torch.tensor(losses, dtype=torch.float64)} | first | final
    return {n: value.cpu() for n, value in results.items()}


def write_teacher(name, model, seed):
    randomise(model, torch.Generator().manual_seed(seed)).eval()
    save_file(model.state_dict(), OUT / f"{name}.safetensors")
    return model.to(DEVICE)


def write_small_teacher(size, patch, seed):
    return write_teacher(f"teacher_{size}_{patch}", small_teacher(size, patch), seed)


if DEVICE == "cuda" and not torch.cuda.is_available():
    print("[  SKIPPED ] there is no GPU")
    sys.exit()
torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
deit3 = write_teacher("deit3_small", timm.create_model("deit3_small_patch16_224"), seed=1)
for name, kind, seed in (("plain", "soft", 3), ("distilled", "soft", 4), ("distilled", "hard", 5)):
    model = {"plain": "deit_tiny_patch16_224", "distilled": "deit_tiny_distilled_patch16_224"}[name]
    write_case(f"{name}_{kind}", timm.create_model(model), deit3, keep=98, batch=6, seed=seed, kind=kind)
fine, coarse, large = (write_small_teacher(*sizes) for sizes in ((42, 7, 12), (32, 8, 13), (40, 10, 14)))
write_case("finer_teacher", small_student(32, 8), fine, keep=14, batch=8, seed=6)
write_case("coarser_teacher", small_student(42, 7), coarse, keep=7, batch=8, seed=7)
write_case("other_pixels", small_student(32, 8), large, keep=8, batch=8, seed=8)  # 4 x 4 patches both
write_case("lowest", small_student(32, 8), fine, keep=15, batch=8, seed=9, criterion="lowest")
write_case("own_attention", small_student(32, 8), fine, keep=15, batch=8, seed=10, criterion="teacher")
write_case("distilled_alone", small_student(32, 8, VisionTransformerDistilled), coarse, keep=8, batch=8, seed=11, kind="none")
write_case("clipped", timm.create_model("deit_tiny_patch16_224"), deit3, keep=98, batch=6, seed=15, clip=0.5)
