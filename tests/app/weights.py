"""Weights of published models in the styles of their authors, and timm's results for converted files.

  weights.py make FOLDER NAME/CLASSES...   random weights, a folder NAME/CLASSES each:
      timm.safetensors, meta.safetensors (names of Meta's repository), training.pth (those in a training checkpoint),
      answers.safetensors (images and timm's logits), and for MAE pretraining.safetensors (encoder, decoder, no head)
  weights.py open FOLDER NAME/CLASSES...   opens converted.safetensors there as a user of timm does; fails unless its
      logits are the same bits; writes its state dict to saved.safetensors
"""

import argparse
import pathlib
import sys

import timm
import torch
from safetensors.torch import load_file, save_file


def create(name, num_classes, **more):
    if name.startswith("mae_"):
        name, more = "vit_base_patch16_224", {"global_pool": "avg", **more}
    return timm.create_model(name, num_classes=num_classes, **more).eval()


def meta_names(name, weights):
    if name.startswith("cait"):
        return {f"module.{key}": value for key, value in weights.items()}
    if name.startswith("deit3"):
        return {key.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): value
                for key, value in weights.items()}
    return weights


def pretraining(weights):
    encoder = {key: value for key, value in weights.items() if not key.startswith(("head", "fc_norm"))}
    return {**encoder, "norm.weight": torch.randn(768), "norm.bias": torch.randn(768),
            "mask_token": torch.randn(1, 1, 512), "decoder_pos_embed": torch.randn(1, 197, 512),
            "decoder_embed.weight": torch.randn(512, 768), "decoder_embed.bias": torch.randn(512),
            "decoder_blocks.0.norm1.weight": torch.randn(512), "decoder_norm.weight": torch.randn(512),
            "decoder_pred.weight": torch.randn(768, 512)}


def make(folder, name, num_classes):
    torch.manual_seed(num_classes)
    model = create(name, num_classes)
    with torch.no_grad():
        for parameter in model.parameters():  # also what is 0 or 1 at the start, and LayerScale
            parameter.add_(torch.randn(parameter.shape) * 0.02)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    folder.mkdir(parents=True)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        save_file({"images": images, "logits": model(images)}, folder / "answers.safetensors")
    save_file(weights, folder / "timm.safetensors")
    save_file(meta_names(name, weights), folder / "meta.safetensors")
    if name.startswith("mae_"):
        save_file(pretraining(weights), folder / "pretraining.safetensors")
    torch.save({"model": meta_names(name, weights), "epoch": 300, "args": argparse.Namespace(model=name, lr=1e-3)},
               folder / "training.pth")


def open_again(folder, name, num_classes):
    model = create(name, num_classes, checkpoint_path=str(folder / "converted.safetensors"))
    answers = load_file(folder / "answers.safetensors")
    with torch.no_grad():
        assert torch.equal(model(answers["images"]), answers["logits"]), f"other logits of {name}"
    save_file(model.state_dict(), folder / "saved.safetensors")


torch.set_num_threads(1)
work = {"make": make, "open": open_again}[sys.argv[1]]
for case in sys.argv[3:]:
    model_name, _, classes = case.partition("/")
    work(pathlib.Path(sys.argv[2]) / case, model_name, int(classes))
