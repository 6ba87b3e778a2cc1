"""Results of PIL, timm and torchvision for the augmentations: operations, policies and whole pipelines.

python reference.py OUTPUT_FOLDER [CASES_AN_OPERATION]
"""
import pathlib
import random
import sys

import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors.numpy import save_file
from timm.data import auto_augment as timm
from timm.data.random_erasing import RandomErasing
from torchvision import transforms

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "codecs"))
import pictures  # noqa: E402

OUT = pathlib.Path(sys.argv[1])
RNG = np.random.default_rng(20251125)
FILL = (124, 116, 104)
KINDS = ["AutoContrast", "Equalize", "Invert", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast", "Brightness",
         "Sharpness", "Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY", "GaussianBlur", "Grayscale"]
GEOMETRIC = range(KINDS.index("Rotate"), KINDS.index("TranslateY") + 1)
PHOTOGRAPHS = [Image.open(path).convert("RGB") for path in
               sorted(pathlib.Path("/usr/share/backgrounds/mate/nature").glob("*.jpg"))[:3]]


def picture(height, width):
    """One of: smooth colours with edges and noise, one colour, two levels, noise, a window of a photograph."""
    kind = RNG.integers(0, 7)
    if kind == 0:
        return np.broadcast_to(RNG.integers(0, 256, 3), (height, width, 3)).astype(np.uint8)
    if kind == 1:
        return RNG.choice(RNG.integers(0, 256, 2), (height, width, 3)).astype(np.uint8)
    if kind == 2:
        return RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)
    if kind == 3 and PHOTOGRAPHS:
        photograph = PHOTOGRAPHS[RNG.integers(0, len(PHOTOGRAPHS))]
        left, top = RNG.integers(0, photograph.width - width), RNG.integers(0, photograph.height - height)
        return np.asarray(photograph.crop((left, top, left + width, top + height)))
    return pictures.smooth_with_edges(RNG, height, width)


def apply(image, kind, argument, bicubic):
    options = {"resample": Image.BICUBIC if bicubic else Image.BILINEAR, "fillcolor": FILL}
    functions = {
        "AutoContrast": timm.auto_contrast, "Equalize": timm.equalize, "Invert": timm.invert,
        "Posterize": lambda i: timm.posterize(i, int(argument)), "Solarize": lambda i: timm.solarize(i, argument),
        "SolarizeAdd": lambda i: timm.solarize_add(i, int(argument)), "Color": lambda i: timm.color(i, argument),
        "Contrast": lambda i: timm.contrast(i, argument), "Brightness": lambda i: timm.brightness(i, argument),
        "Sharpness": lambda i: timm.sharpness(i, argument), "Rotate": lambda i: timm.rotate(i, argument, **options),
        "ShearX": lambda i: timm.shear_x(i, argument, **options),
        "ShearY": lambda i: timm.shear_y(i, argument, **options),
        "TranslateX": lambda i: timm.translate_x_rel(i, argument, **options),
        "TranslateY": lambda i: timm.translate_y_rel(i, argument, **options),
        "GaussianBlur": lambda i: i.filter(ImageFilter.GaussianBlur(argument)), "Grayscale": transforms.Grayscale(3)}
    return functions[KINDS[kind]](image)


def argument_for(kind, width, height):
    name = KINDS[kind]
    if name in ["Posterize", "Solarize", "SolarizeAdd"]:
        low, high = {"Posterize": (-2, 9), "Solarize": (0, 257), "SolarizeAdd": (0, 129)}[name]
        return float(RNG.integers(low, high))
    special = RNG.random() < 0.15
    if name in ["Color", "Contrast", "Brightness", "Sharpness"]:
        return float(RNG.choice([0, 0.1, 1, 1.9])) if special else RNG.uniform(0, 2.5)
    if name == "Rotate":
        return float(RNG.choice([0, 30, -30, 45, 90, -90, 180, 360])) if special else RNG.uniform(-60, 60)
    if name.startswith("Shear"):
        return float(RNG.choice([0, 0.3, -0.3, 1, -0.5])) if special else RNG.uniform(-0.5, 0.5)
    if name.startswith("Translate"):
        return float(RNG.choice([0, 0.45, 0.25, 1 / width, -1 / height])) if special else RNG.uniform(-0.6, 0.6)
    return RNG.uniform(0, 2.5)


def operations(cases):
    for kind, name in enumerate(KINDS):
        tensors = {}
        for i in range(cases):
            height, width = (224, 224) if i % 10 == 0 else (int(side) for side in RNG.choice([1, 2, 3, 5, 28, 33, 64], 2))
            image, argument, bicubic = picture(height, width), argument_for(kind, width, height), int(i % 3 != 0)
            tensors[f"{i}.image"] = image
            tensors[f"{i}.operation"] = np.array([argument, bicubic], np.float64)
            tensors[f"{i}.result"] = np.asarray(apply(Image.fromarray(image), kind, argument, bicubic))
        save_file(tensors, OUT / f"operation_{name}.safetensors")


def pipelines():
    """Crop, flip, operations; a geometric one comes last, as later operations would spread its errors of one level."""
    tensors = {}
    for i in range(60):
        image, size = picture(int(RNG.integers(20, 300)), int(RNG.integers(20, 300))), [224, 32, 77][i % 3]
        height, width = int(RNG.integers(5, image.shape[0] + 1)), int(RNG.integers(5, image.shape[1] + 1))
        top, left = int(RNG.integers(0, image.shape[0] - height + 1)), int(RNG.integers(0, image.shape[1] - width + 1))
        bicubic, flip = int(RNG.integers(0, 2)), int(RNG.integers(0, 2))
        interpolation = transforms.InterpolationMode.BICUBIC if bicubic else transforms.InterpolationMode.BILINEAR
        result = transforms.functional.resized_crop(Image.fromarray(image), top, left, height, width, [size, size],
                                                    interpolation)
        result = transforms.functional.hflip(result) if flip else result
        kinds = RNG.permutation(len(KINDS))[:RNG.integers(1, 4)]
        steps = []
        for kind in sorted(kinds, key=lambda kind: kind in GEOMETRIC)[:1 + sum(k not in GEOMETRIC for k in kinds)]:
            steps.append([kind, argument_for(kind, size, size), int(RNG.integers(0, 2))])
            result = apply(result, *steps[-1])
        tensors |= {f"{i}.image": image, f"{i}.result": np.asarray(result), f"{i}.steps": np.array(steps, np.float64),
                    f"{i}.crop": np.array([top, left, height, width, bicubic, flip], np.int32)}
    save_file(tensors, OUT / "pipelines.safetensors")


def timm_policy(text, interpolation="bicubic"):
    parameters = {"translate_const": 100, "img_mean": FILL}
    if interpolation != "random":
        parameters["interpolation"] = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR}[interpolation]
    return timm.rand_augment_transform(text, parameters)


def policies():
    """Draws of timm, [draw, 4]: image, kind, argument, bicubic."""
    names = {"TranslateXRel": "TranslateX", "TranslateYRel": "TranslateY", "Desaturate": "Color"}
    tensors = {}
    texts = ["rand-m9-mstd0.5-inc1", "rand-m6-mstd101-n3-p0.8", "rand-m12-mmax20-mstd2-inc1", "rand", "rand-m9-t3a-n1",
             "rand-m9-mstd0.5-t3aw-n3-p0.9", "rand-m5-mstd3-tweights-p1"]
    random.seed(6)
    np.random.seed(7)
    for text in texts:
        for interpolation in ["bicubic", "random"] if text == texts[0] else ["bicubic"]:
            policy, drawn = timm_policy(text, interpolation), []
            for op in policy.ops:
                name = op.name.replace("Increasing", "")

                def record(image, *arguments, name=name, **options):
                    timm._check_args_tf(options)
                    argument = arguments[0] if arguments else 0
                    argument = min(1, max(0, 1 - argument)) if name == "Desaturate" else argument
                    drawn.append([image, KINDS.index(names.get(name, name)), argument,
                                  int(options["resample"] == Image.BICUBIC)])
                    return image
                op.aug_fn = record
            for i in range(20000):
                policy(i)
            tensors[f"{text} {interpolation}"] = np.array(drawn, np.float64)
    jitter, drawn = transforms.ColorJitter(0.3, 0.3, 0.3), []
    torch.manual_seed(8)
    for i in range(20000):
        order, *factors, _ = jitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        for index in order.tolist():
            if index < 3:
                drawn.append([i, KINDS.index(["Brightness", "Contrast", "Color"][index]), factors[index], 1])
    tensors["jitter"] = np.array(drawn, np.float64)
    save_file(tensors, OUT / "policies.safetensors")


def grammar():
    """[magnitude, deviation, largest, operations, probability, kinds, is increasing, is weighted], or [-1] if refused."""
    texts = ["rand", "rand-m9", "rand-m9-mstd0.5-inc1", "rand-inc1-mstd0.5-m9", "rand-m0", "rand-n3-p0.7", "rand-m9-n1",
             "rand-mstd0.5", "rand-mstd1e2", "rand-mstd100", "rand-mstd100.5", "rand-mmax20-m15", "rand-m9-p1",
             "rand-m9-p0", "rand-t3a", "rand-t3aw-n3", "rand-m7-tweights", "rand-m9-mstd2.25-mmax12-n4-p0.25-inc1",
             "rand-m9.5", "rand-n2.5", "rand-x3", "rand-mx5", "rand-q1-m9", "random-m9-x1", "original-m9", "",
             "rand-mstd1.2.3", "rand-m9x", "m9-rand", "rand-p0.5p", "rand-mmax9.5", "rand-w0", "rand-incx1"]
    tensors = {}
    for text in texts:
        try:
            policy = timm_policy(text)
            op = policy.ops[0]
            increasing = any("Increasing" in op.name for op in policy.ops)
            values = [op.magnitude, op.magnitude_std, op.magnitude_max or 10, policy.num_layers, op.prob,
                      len(policy.ops), increasing, policy.choice_weights is not None]
        except (AssertionError, ValueError):
            values = [-1]
        tensors["text " + text] = np.array(values, np.float64)
    save_file(tensors, OUT / "grammar.safetensors")


def evaluation():
    tensors = {}
    shapes = [(1, 1), (1, 3), (3, 1), (10, 7), (28, 28), (100, 223), (223, 100), (224, 224), (256, 256), (256, 289),
              (256, 291), (293, 256), (295, 256), (375, 500), (500, 375), (333, 500), (640, 427), (97, 1500),
              (1500, 97), (255, 257), (257, 255), (512, 513), (511, 512), (480, 641)]
    cases = [(shape, size, crop) for shape in shapes for size, crop in [(224, 0.875)]]
    cases += [(shape, size, crop) for shape in [(28, 28), (31, 40), (64, 37), (5, 9)]
              for size, crop in [(28, 0.875), (28, 1.0), (32, 0.9), (33, 0.95), (384, 1.0), (1, 0.5)]]
    for i, (shape, size, crop) in enumerate(cases):
        image = pictures.smooth_with_edges(RNG, *shape)
        transform = transforms.Compose([
            transforms.Resize(int(size / crop), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size)])
        tensors[f"{i}.image"] = image
        tensors[f"{i}.options"] = np.array([size, crop])
        tensors[f"{i}.result"] = np.asarray(transform(Image.fromarray(image)))
    save_file(tensors, OUT / "evaluation.safetensors")


def geometry():
    tensors = {}
    torch.manual_seed(3)
    shapes = [(375, 500, 0.08, 1), (500, 333, 0.08, 1), (28, 28, 0.08, 1), (60, 400, 0.3, 1), (5, 4, 0.08, 1)]
    shapes += [(10, 1000, 0.9, 1), (1000, 10, 0.9, 1), (1, 7, 0.5, 1), (7, 1, 0.5, 1), (33, 100, 0.99, 1)]  # fallback
    for i, (height, width, low, high) in enumerate(shapes):
        image = Image.new("L", (width, height))
        boxes = [transforms.RandomResizedCrop.get_params(image, [low, high], [3 / 4, 4 / 3])
                 for _ in range(10000 if i < 5 else 20)]
        tensors[f"crop.{i}.options"] = np.array([height, width, low, high])
        tensors[f"crop.{i}.boxes"] = np.array(boxes, np.int32)
    random.seed(4)
    for i, (size, probability) in enumerate([(224, 0.25), (28, 1), (64, 0.6), (6, 1)]):
        erasing = RandomErasing(probability=probability, mode="const", device="cpu")
        boxes = []
        for _ in range(10000):
            erased = erasing(torch.ones(1, size, size))[0].numpy() == 0
            rows, columns = np.flatnonzero(erased.any(1)), np.flatnonzero(erased.any(0))
            boxes.append([rows[0], columns[0], len(rows), len(columns)] if len(rows) else [-1] * 4)
        tensors[f"erase.{i}.options"] = np.array([size, probability], np.float64)
        tensors[f"erase.{i}.boxes"] = np.array(boxes, np.int32)
    save_file(tensors, OUT / "geometry.safetensors")


if __name__ == "__main__":
    cases_given = len(sys.argv) > 2
    operations(int(sys.argv[2]) if cases_given else 100)
    if not cases_given:
        pipelines()
        policies()
        grammar()
        evaluation()
        geometry()
