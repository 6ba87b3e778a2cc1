"""Accuracy and loss of a checkpoint on a packed set, computed with h5py, PIL and timm.

  evaluate.py PACKED CHECKPOINT -> JSON: test_loss, test_acc1
"""

import json
import pathlib
import sys

import h5py
import numpy
import PIL.Image
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

packed, checkpoint = map(pathlib.Path, sys.argv[1:])
state = json.loads((checkpoint / "state.json").read_text())
sizes, crop = state["model"], float(state["options"]["eval-crop"])
model = VisionTransformer(img_size=sizes["input_size"], patch_size=sizes["patch_size"], embed_dim=sizes["width"],
                          depth=sizes["depth"], num_heads=sizes["num_heads"], num_classes=sizes["num_classes"])
model.load_state_dict(load_file(checkpoint / "model.safetensors"))
model.eval()

size = sizes["input_size"]
images, labels = [], []
for path in sorted(packed.glob("shard-*.h5")):
    with h5py.File(path) as shard:
        for i, label in enumerate(shard["labels"][:]):
            begin, end = shard["offsets"][i:i + 2]
            pixels = shard["bytes"][begin:end].reshape(shard["shapes"][i])
            image = PIL.Image.fromarray(pixels[:, :, 0]).convert("RGB")  # square, so both edges are the shorter one
            larger = int(size / crop)
            offset = round((larger - size) / 2)
            image = image.resize((larger, larger), PIL.Image.BICUBIC).crop((offset, offset, offset + size, offset + size))
            images.append(numpy.asarray(image))
            labels.append(label)
batch = torch.from_numpy(numpy.stack(images)).permute(0, 3, 1, 2) / 255.0
batch = (batch - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
labels = torch.tensor(numpy.array(labels))
with torch.no_grad():
    logits = model(batch)
print(json.dumps({"test_loss": torch.nn.functional.cross_entropy(logits.double(), labels).item(),
                  "test_acc1": (logits.argmax(1) == labels).double().mean().item() * 100}))
