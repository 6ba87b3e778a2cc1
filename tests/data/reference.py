"""Results of torchvision, timm and DeiT's sampler for the inputs of the tests of the module data.

python reference.py OUTPUT_FOLDER
"""
import math
import pathlib
import sys

import numpy as np
import timm.data.mixup
import torch
from safetensors.numpy import save_file
from torchvision import transforms

OUT = pathlib.Path(sys.argv[1])
RNG = np.random.default_rng(20240607)
NORMALISE = transforms.Compose([
    transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])


def batch():
    images = RNG.integers(0, 256, (5, 31, 31, 3), np.uint8)
    images[0].reshape(-1)[:256] = np.arange(256)  # every level
    save_file({"images": images, "normalised": np.stack([NORMALISE(image).numpy() for image in images])},
              OUT / "batch.safetensors")


def mixing():
    tensors = {}
    boxes = []
    draw_box = timm.data.mixup.cutmix_bbox_and_lam

    def watched(*arguments, **keywords):
        box, share = draw_box(*arguments, **keywords)
        boxes.append((*box, share))
        return box, share

    timm.data.mixup.cutmix_bbox_and_lam = watched
    np.random.seed(5)
    case = 0
    for mode in ["batch", "pair", "elem"]:
        for i in range(18):  # from the 13th on with cutmix_minmax
            size, side = int(RNG.choice([2, 4, 6, 16])), int(RNG.choice([8, 31]))
            classes = int(RNG.choice([2, 10, 1000]))
            smoothing = [0.1, 0.0, 0.3][i % 3]
            sides = None if i < 12 else [(0.2, 0.8), (0.0, 1.0)][i % 2]
            mixup = timm.data.mixup.Mixup(0.8, 1.0, cutmix_minmax=sides, prob=[1.0, 0.5][i % 2], mode=mode, label_smoothing=smoothing,
                                          num_classes=classes)
            pixels = RNG.integers(0, 256, (size, side, side, 3), np.uint8)
            images = torch.stack([NORMALISE(image) for image in pixels])
            labels = torch.from_numpy(RNG.integers(0, classes, size))
            drawn = []
            for method in ["_params_per_batch", "_params_per_elem"]:
                def recorded(*arguments, original=getattr(mixup, method)):
                    shares, cuts = original(*arguments)
                    drawn.extend(zip(np.atleast_1d(shares).tolist(), np.atleast_1d(cuts).tolist()))
                    return shares, cuts
                setattr(mixup, method, recorded)
            boxes.clear()
            mixed, targets = mixup(images, labels)
            rest = list(boxes)  # top, bottom, left, right, lambda; timm draws no box if lambda is 1
            samples = [[*rest.pop(0), 1] if cut and share != 1 else [0, 0, 0, 0, share, 0] for share, cut in drawn]
            samples = {"batch": samples * size, "pair": samples + samples[::-1], "elem": samples}[mode]
            assert len(samples) == size and not rest
            tensors |= {f"{case}.images": pixels, f"{case}.labels": labels.numpy(), f"{case}.mixed": mixed.numpy(),
                        f"{case}.targets": targets.numpy(), f"{case}.samples": np.array(samples, np.float64),
                        f"{case}.options": np.array([classes, smoothing])}
            case += 1
    for i, (height, width) in enumerate([(224, 224), (28, 28), (9, 40)]):
        draws = []
        for _ in range(20000):
            (top, bottom, left, right), share = draw_box((3, height, width), np.random.beta(1.0, 1.0))
            draws.append([top, left, bottom - top, right - left, share])
        tensors[f"cutmix.{i}.shape"] = np.array([height, width])
        tensors[f"cutmix.{i}.draws"] = np.array(draws, np.float64)
    for i, (height, width, least, most) in enumerate([(224, 224, 0.2, 0.8), (28, 28, 0.0, 1.0), (9, 40, 0.3, 0.5)]):
        draws = []
        for _ in range(20000):
            (top, bottom, left, right), share = draw_box((3, height, width), 0.5, ratio_minmax=(least, most))
            draws.append([top, left, bottom - top, right - left, share])
        tensors[f"minmax.{i}.shape"] = np.array([height, width, least, most], np.float64)
        tensors[f"minmax.{i}.draws"] = np.array(draws, np.float64)
    for alpha in [0.2, 0.8, 1.0, 3.0]:
        tensors[f"beta.{alpha}"] = np.random.beta(alpha, alpha, 50000)
    save_file(tensors, OUT / "mixing.safetensors")


def sampler():
    """DeiT's RASampler (samplers.py) without its shuffle, for one process a micro-batch and for fewer."""
    tensors = {}
    for length in [256, 300, 1000, 2560, 4099]:
        for repeats in [1, 3]:
            for world in [1, 2, 4, 8]:
                num_samples = math.ceil(length * repeats / world)
                selected = length // 256 * 256 // world
                indices = np.repeat(np.arange(length), repeats).tolist()
                indices += indices[:num_samples * world - len(indices)]
                dealt = np.stack([np.array(indices[rank:num_samples * world:world][:selected])
                                  for rank in range(world)])
                tensors[f"{length}.{repeats}.{world}"] = dealt.astype(np.int64)
    save_file(tensors, OUT / "sampler.safetensors")


for part in [batch, mixing, sampler]:
    part()
