"""Folders of images, listed by torchvision and read by PIL, and IDX files read by numpy.

python reference.py OUTPUT_FOLDER
"""
import gzip
import json
import os
import pathlib
import sys

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from torchvision.datasets import ImageFolder

OUT = pathlib.Path(sys.argv[1])
RNG = np.random.default_rng(7)


def write_image(path, side=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = (side, side) if side else RNG.integers(4, 40, 2)
    pixels = RNG.integers(0, 256, (height, width, 3), np.uint8)
    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    Image.fromarray(pixels).convert("L" if RNG.random() < 0.2 else "RGB").save(path, kind)


def list_of(root):
    folder = ImageFolder(root)
    return {"classes": folder.classes,
            "files": [[os.path.relpath(path, root), label] for path, label in folder.samples]}


def nasty_tree():
    """Names that are difficult to sort: upper case, digits, spaces, dashes beside slashes, Unicode, hidden files, links, nesting."""
    root = OUT / "nasty"
    for name in ["b/1.jpg", "b/10.jpg", "b/2.jpg", "b/A.JPG", "b/a.jpeg", "b/Z.JpEg", "b/z.PNG", "b/a b.png", "b/.hidden.jpg",
                 "b/sub/1.png", "b/sub/deeper/0.jpg", "b/sub-x/1.png", "b/sub x/1.png", "b/Sub/1.png", "b/sub.d/q.jpg",
                 "B/x.jpg", "B10/x.jpg", "B2/x.jpg", "a-b/x.jpg", "a b/x.jpg", "a.b/x.jpg", "a/x.jpg", "_u/x.jpg",
                 "Änder/é.jpg", "Änder/e.jpg", "Änder/ñ ñ.png", "日本/犬.png", "日本/猫.jpg", "日本/😀.jpg", "ｚ/x.png",
                 "only nested/one/two/three.jpg", ".cache/x.jpg", "b/two.dots.jpg", "b/new\nline.jpg"]:
        write_image(root / name)
    elsewhere = OUT / "elsewhere"
    for name in ["class/1.jpg", "class/nested/2.png", "file.jpg"]:
        write_image(elsewhere / name)
    (root / "linked class").symlink_to(elsewhere / "class", target_is_directory=True)
    (root / "b" / "linked folder").symlink_to(elsewhere / "class", target_is_directory=True)
    (root / "b" / "linked.jpg").symlink_to(elsewhere / "file.jpg")
    (root / "b" / "notes.txt").write_text("no image")
    (root / "b" / "jpg").write_text("no image")
    (root / "README.jpg").write_text("beside the classes")
    (root / "b" / "empty folder").mkdir()
    (root / "b" / "folder.jpg").mkdir()
    write_image(root / "b" / "folder.jpg" / "inner.jpg")
    (OUT / "nasty.json").write_text(json.dumps(list_of(root)))


def plain_tree():
    """The images of the packing tests, with the pixels as PIL reads them."""
    root = OUT / "plain"
    for i in range(61):
        write_image(root / f"class {i % 4}" / f"{i:03}.{'png' if i % 3 == 0 else 'jpg'}")
    listing = list_of(root)
    (OUT / "plain.json").write_text(json.dumps(listing))
    save_file({str(i): np.asarray(Image.open(root / path).convert("RGB"))
               for i, (path, _) in enumerate(listing["files"])}, OUT / "plain.safetensors")
    broken = OUT / "broken"
    for i in range(12):
        write_image(broken / f"c{i % 2}" / f"{i:02}.{'png' if i % 4 == 0 else 'jpg'}")
    cut = broken / "c1" / "03.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    (broken / "c0" / "04.png").write_bytes(b"no PNG")
    (broken / "c1" / "09.jpg").write_bytes(b"")


def idx():
    """Fashion-MNIST's test images if Debian's package is installed, else as many random ones."""
    installed = pathlib.Path("/usr/share/datasets/fashion-mnist")
    names = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
    if (installed / (names[0] + ".gz")).exists():
        contents = [gzip.decompress((installed / (name + ".gz")).read_bytes()) for name in names]
    else:
        contents = [np.array([0x803, 10000, 28, 28], ">u4").tobytes() + RNG.bytes(10000 * 784),
                    np.array([0x801, 10000], ">u4").tobytes() + RNG.integers(0, 10, 10000, np.uint8).tobytes()]
    for name, content in zip(["images", "labels"], contents):
        (OUT / f"{name}.idx").write_bytes(content)
        (OUT / f"{name}.idx.gz").write_bytes(gzip.compress(content, 1))
    save_file({"images": np.frombuffer(contents[0], np.uint8, offset=16).reshape(-1, 28, 28),
               "labels": np.frombuffer(contents[1], np.uint8, offset=8)}, OUT / "idx.safetensors")


for part in [nasty_tree, plain_tree, idx]:
    part()
