"""Distillation losses with their gradients in float64, the largest k of attention rows, and resampling between grids and image
sizes, as PyTorch computes them."""

import json
import pathlib
import sys

import numpy
import PIL.Image
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = pathlib.Path(sys.argv[1])
generator = torch.Generator().manual_seed(20261124)
tensors, losses, selections = {}, [], []


def randn(*shape):
    return torch.randn(*shape, generator=generator)


def reference_loss(logits, second, targets, teacher, kind, alpha, tau):
    """The loss, composed of PyTorch's losses."""
    if kind == "none":  # timm's VisionTransformerDistilled without distilled_training
        return F.cross_entropy(logits if second is None else (logits + second) / 2, targets)
    base = F.cross_entropy(logits, targets)
    taught = logits if second is None else second
    if kind == "soft":
        term = F.kl_div(F.log_softmax(taught / tau, 1), F.softmax(teacher / tau, 1), reduction="batchmean") * tau * tau
    else:
        term = F.cross_entropy(taught, teacher.argmax(1))
    return base * (1 - alpha) + term * alpha


def add_loss(kind, batch, classes, alpha, tau, two_heads, spread):
    index = len(losses)
    logits, second, teacher = (spread * randn(batch, classes) for _ in range(3))
    mix = torch.rand(batch, 1, generator=generator)
    labels = torch.randint(classes, (2, batch), generator=generator)
    smooth = [F.one_hot(row, classes) * 0.9 + 0.1 / classes for row in labels]
    targets = smooth[0] * mix + smooth[1] * (1 - mix)
    leaves = [logits.double().requires_grad_(), second.double().requires_grad_()]
    loss = reference_loss(leaves[0], leaves[1] if two_heads else None, targets.double(), teacher.double(), kind, alpha, tau)
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    in_float32 = reference_loss(logits, second if two_heads else None, targets, teacher, kind, alpha, tau)
    given = {"logits": logits, "targets": targets, "teacher": teacher, "loss": loss.detach(), "gradient": gradients[0]}
    if two_heads:
        given |= {"second": second}
        if gradients[1] is not None:
            given |= {"second_gradient": gradients[1].clone()}  # for "none" both heads are one tensor
    tensors.update({f"{index}.{key}": value.contiguous() for key, value in given.items()})
    losses.append({"type": kind, "alpha": alpha, "tau": tau, "two_heads": two_heads,
                   "float32_error": abs(in_float32.item() / loss.item() - 1)})


for kind in ("none", "soft", "hard"):
    for two_heads in (False, True):
        add_loss(kind, 4, 1000, 0.5, 1.0, two_heads, 2.0)
        add_loss(kind, 1, 2, 0.3, 2.5, two_heads, 1.0)
        add_loss(kind, 7, 37, 1.0, 0.5, two_heads, 3.0)
        add_loss(kind, 3, 10, 0.0, 4.0, two_heads, 1.0)
add_loss("soft", 5, 100, 0.9, 20.0, False, 4.0)
add_loss("soft", 5, 100, 0.5, 1.0, False, 60.0)  # many probabilities underflow to 0 in float32

for batch, patches, keep in ((1, 1, 1), (5, 196, 98), (3, 196, 1), (3, 196, 196), (2, 49, 48), (4, 256, 10), (64, 16, 8)):
    index = len(selections)
    # No two values are equal, as the choice between equal ones is undefined.
    ranks = torch.rand(batch, patches, generator=generator).argsort(1).argsort(1)
    attention = ((ranks + 1).float() / patches).pow(2).mul(0.7)
    tensors[f"select{index}.attention"] = attention
    tensors[f"select{index}.kept"] = attention.topk(keep, dim=1).indices
    selections.append(keep)



def triangles(source, target):
    """Antialiased linear interpolation by its definition: each row of weights [target, source] is a triangle as wide as the
    larger of the two kinds of cells, around the target's centre, cut at the edge and normalised."""
    scale = source / target
    distance = (numpy.arange(target)[:, None] + 0.5) * scale - (numpy.arange(source)[None] + 0.5)
    weights = numpy.maximum(0, 1 - abs(distance) / max(scale, 1))
    return torch.from_numpy(weights / weights.sum(1, keepdims=True))


grids = [(14, 16), (14, 24), (16, 14), (24, 14), (4, 5), (7, 1), (1, 3)]
for source, target in grids:
    attention = torch.rand(3, source * source, generator=generator).pow(4).mul(0.05)
    square = attention.view(3, 1, source, source)
    resampled = F.interpolate(square, target, mode="bilinear", antialias=True, align_corners=False).view(3, -1)
    matrix = triangles(source, target)
    by_definition = (matrix @ square.double() @ matrix.T).view(3, -1)
    assert (resampled - by_definition).abs().max() < 1e-6 * by_definition.max()
    tensors |= {f"grid{source}to{target}.attention": attention, f"grid{source}to{target}.resampled": resampled}

sizes = [(16, 24), (40, 24)]
for source, target in sizes:
    images = randn(2, 3, source, source)
    resized = F.interpolate(images, target, mode="bicubic", antialias=True, align_corners=False)
    for image, expected in zip(images.flatten(0, 1), resized.flatten(0, 1)):
        pil = PIL.Image.fromarray(image.numpy()).resize((target, target), PIL.Image.BICUBIC)
        assert (expected - torch.from_numpy(numpy.array(pil))).abs().max() < 1e-5
    tensors |= {f"size{source}to{target}.images": images, f"size{source}to{target}.resized": resized}

save_file(tensors, OUT / "distill.safetensors")
(OUT / "distill.json").write_text(json.dumps({"losses": losses, "selections": selections, "grids": grids, "sizes": sizes}))
