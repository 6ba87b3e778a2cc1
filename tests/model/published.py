"""Published models with random weights and timm's results: for each NAME the folder gets NAME.safetensors and
NAME.io.safetensors (images, logits with all patches, kept patches, logits with those only), one after the other.

  published.py FOLDER NAME...

batch 2, half of the patches; masked forward passes by forwards.py."""

import pathlib
import sys

import torch
from safetensors.torch import save_file
from timm.models.cait import Cait

from forwards import forward
from names import create

folder = pathlib.Path(sys.argv[1])
generator = torch.Generator().manual_seed(4)
blank = lambda tensor, *args, **kwargs: tensor  # every value is drawn below; timm's draws would take minutes


def randomise(model):
    for name, parameter in model.named_parameters():
        if "gamma" in name:
            parameter.normal_(0.3, 0.1, generator=generator)
        elif "norm" in name and name.endswith("weight"):
            parameter.normal_(1, 0.1, generator=generator)
        elif parameter.dim() == 1 or "token" in name or "pos_embed" in name:
            parameter.normal_(0, 0.1, generator=generator)
        else:
            parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)


with torch.no_grad():
    for name in sys.argv[2:]:
        with torch.device("meta"):
            linspace = torch.linspace
            torch.linspace = lambda *args: linspace(*args, device="cpu")  # timm reads the values of its drop path rates
            model = create(name)
            torch.linspace = linspace
        model = model.to_empty(device="cpu").eval()
        randomise(model)
        size = model.patch_embed.img_size[0]
        images = torch.randn(2, 3, size, size, generator=generator)
        patches = model.patch_embed.num_patches
        kept = torch.rand(2, patches, generator=generator).argsort(1)[:, : patches // 2].contiguous()
        logits = model(images)
        masked = forward(model, images, kept)[0]
        # timm's own forward pass must agree with the one of forwards.py.
        assert torch.allclose(sum(forward(model, images)[0]) / len(masked), logits, rtol=1e-4, atol=1e-5)
        save_file(model.state_dict(), folder / f"{name}.safetensors")
        save_file({"images": images, "logits": logits, "kept": kept, "masked_logits": sum(masked) / len(masked)},
                  folder / f"{name}.io.safetensors")
        del model
