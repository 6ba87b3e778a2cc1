"""Results of timm and PyTorch for the models: parameter lists of the published ones; weights, images, logits, attention and
gradients of four published ones and of small unusual ones; interpolated position embeddings. Drop path with given uniforms is
composed here of timm's modules.

N patches, K kept, T tokens in front, B images, D width, L depth."""

import json
import pathlib
import sys
import unittest.mock

import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models.cait import Cait
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from forwards import forward, perturb, well_separated_top
from names import create

OUT = pathlib.Path(sys.argv[1])
PUBLISHED = [f"deit_{size}_patch16_224" for size in ("tiny", "small", "base")] + ["deit_base_patch16_384"]
PUBLISHED += [f"deit_{size}_distilled_patch16_224" for size in ("tiny", "small", "base")]
PUBLISHED += ["deit_base_distilled_patch16_384"]
PUBLISHED += [f"deit3_{size}_patch16_224" for size in ("small", "medium", "base", "large")] + ["deit3_huge_patch14_224"]
PUBLISHED += [f"deit3_{size}_patch16_384" for size in ("small", "base", "large")]
PUBLISHED += ["cait_xxs24_224", "cait_xxs36_224", "cait_s24_224", "cait_s36_384"]
PUBLISHED += ["mae_vit_base_patch16", "mae_vit_large_patch16", "mae_vit_huge_patch14"]
PUBLISHED += [f"vit_{size}_patch16_224" for size in ("tiny", "small", "base", "large")]


def write_parameter_lists():
    lists = {}
    linspace = torch.linspace
    for name in PUBLISHED:
        # Nothing is allocated on "meta", but timm reads the values of its drop path rates.
        with torch.device("meta"), unittest.mock.patch("torch.linspace", lambda *args: linspace(*args, device="cpu")):
            model = create(name)
        lists[name] = [[key, list(value.shape)] for key, value in model.state_dict().items()]
    (OUT / "parameters.json").write_text(json.dumps(lists))


class GivenDropPath(torch.nn.Module):
    """timm 0.3.2's drop_path with its uniforms given: x / keep * floor(keep + U)."""

    def __init__(self, rate, uniforms):
        super().__init__()
        self.keep, self.uniforms = 1 - rate, uniforms

    def forward(self, x):
        return x.div(self.keep) * (self.keep + self.uniforms).floor().view(-1, 1, 1)


class InTurn(torch.nn.Module):
    def __init__(self, modules):
        super().__init__()
        self.parts, self.calls = torch.nn.ModuleList(modules), 0

    def forward(self, x):
        self.calls += 1
        return self.parts[(self.calls - 1) % len(self.parts)](x)


def write_case(name, model, options, batch, keep, drop_path_rate, seed):
    generator = torch.Generator().manual_seed(seed)
    perturb(model, generator)
    model.eval()
    images = torch.randn(batch, 3, options["input_size"], options["input_size"], generator=generator)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, OUT / f"{name}.weights.safetensors")
    out = {"images": images}

    def put(prefix, heads):
        out[prefix + "logits"] = heads[0].detach()
        if len(heads) == 2:
            out[prefix + "distillation_logits"] = heads[1].detach()

    with torch.no_grad():
        heads, attention = forward(model, images)
        timm_logits = model(images)  # the mean of the heads if there are two
        assert torch.allclose(sum(heads) / len(heads), timm_logits, rtol=1e-5, atol=1e-5)
        out["timm_logits"] = timm_logits
        put("", heads)
        out["class_attention"] = attention
        kept = well_separated_top(attention, keep)
        kept = kept.gather(1, torch.rand(kept.shape, generator=generator).argsort(1))
        out["kept"] = kept
        heads, out["masked_class_attention"] = forward(model, images, kept)
        put("masked_", heads)
        with torch.autocast("cpu", torch.bfloat16):
            heads, out["bf16_class_attention"] = forward(model, images)
            put("bf16_", heads)
            put("bf16_masked_", forward(model, images, kept)[0])

    def gradients(prefix, dtype):
        for module in model.modules():
            if isinstance(module, InTurn):
                module.calls = 0
        model.to(dtype).zero_grad()
        heads, _ = forward(model, images.to(dtype))
        sum((h * out[f"{prefix}cotangent{i}"]).sum() for i, h in enumerate(heads)).backward()
        return heads, {key: parameter.grad.to(dtype).clone() for key, parameter in model.named_parameters()}

    def put_gradients(prefix):
        """Gradients in float64, and PyTorch's error in float32."""
        for i in range(len(heads)):
            out[f"{prefix}cotangent{i}"] = torch.randn(batch, options["num_classes"], generator=generator)
        exact = gradients(prefix, torch.float64)[1]
        answer, rounded = gradients(prefix, torch.float32)
        for key, value in exact.items():
            out[f"{prefix}grad.{key}"] = value.float()
            out[f"{prefix}rounding.{key}"] = (rounded[key] - value).abs().max() / value.abs().max()
        return answer

    put_gradients("")
    depth = len(model.blocks)
    uniforms = torch.rand(depth, 2, batch, generator=generator)
    out["drop_path_uniforms"] = uniforms
    rates = torch.linspace(0, drop_path_rate, depth) if not options["uniform_drop_path"] else [drop_path_rate] * depth
    for i, block in enumerate(model.blocks):
        dropping = [GivenDropPath(float(rates[i]), uniforms[i, which]) for which in (0, 1)]
        if isinstance(model, Cait):  # it has one for both branches, in this order
            block.drop_path = InTurn(dropping)
        else:
            block.drop_path1, block.drop_path2 = dropping
    put("drop_path_", put_gradients("drop_path_"))
    save_file({k: v.contiguous() for k, v in out.items()}, OUT / f"{name}.io.safetensors")
    return {"name": name, "drop_path_rate": drop_path_rate, "options": options}


def sizes_of(model, num_classes, input_size, patch_size):
    cait = isinstance(model, Cait)
    no_class_position = cait or model.no_embed_class
    layer_scale = hasattr(model.blocks[0], "gamma_1") or not isinstance(model.blocks[0].ls1, torch.nn.Identity)
    return {"input_size": input_size, "patch_size": patch_size, "width": model.embed_dim, "depth": len(model.blocks),
            "num_heads": model.blocks[0].attn.num_heads, "num_classes": num_classes,
            "distilled": isinstance(model, VisionTransformerDistilled), "layer_scale": layer_scale,
            "position_on_class_token": not no_class_position, "average_pool": model.global_pool == "avg",
            "num_class_blocks": len(model.blocks_token_only) if cait else 0}


def published(name, layer_scale_init=1e-4, **rest):
    model = create(name)
    uniform = name.startswith(("deit3", "cait"))
    options = sizes_of(model, 1000, 224, 16) | {"uniform_drop_path": uniform, "layer_scale_init": layer_scale_init}
    return write_case(name, model, options, **rest)


def small(name, kind, input_size, patch_size, width, depth, num_heads, num_classes, uniform=False, arguments={}, **rest):
    model = kind(img_size=input_size, patch_size=patch_size, embed_dim=width, depth=depth, num_heads=num_heads,
                 num_classes=num_classes, qkv_bias=True, **arguments)
    options = sizes_of(model, num_classes, input_size, patch_size) | {"uniform_drop_path": uniform, "layer_scale_init": 0.1}
    return write_case(name, model, options, **rest)


def write_positions():
    """Grids 14 -> 24, 24 -> 14, 14 -> 16 and back, unusual ones; with 0, 1 or 2 tokens in front."""
    generator = torch.Generator().manual_seed(11)
    cases, tensors = [], {}
    for front, old, new, width in ((1, 14, 24, 192), (1, 24, 14, 64), (0, 14, 24, 48), (0, 16, 14, 64), (1, 14, 16, 33),
                                   (2, 14, 24, 40), (2, 24, 14, 8), (0, 24, 14, 7), (1, 7, 1, 5), (1, 1, 3, 4)):
        given = torch.randn(1, front + old * old, width, generator=generator)
        key = f"{front}.{old}.{new}"
        tensors[key + ".given"] = given
        tensors[key + ".expected"] = resample_abs_pos_embed(given, (new, new), num_prefix_tokens=front)
        cases.append({"key": key, "front": front, "grid": new})
    save_file({k: v.contiguous() for k, v in tensors.items()}, OUT / "positions.safetensors")
    (OUT / "positions.json").write_text(json.dumps(cases))


torch.manual_seed(20261124)
DEIT3 = {"init_values": 0.1, "no_embed_class": True}
write_parameter_lists()
write_positions()
cases = [
    published("deit_tiny_patch16_224", batch=3, keep=98, drop_path_rate=0.1, seed=1),
    published("deit_tiny_distilled_patch16_224", batch=2, keep=98, drop_path_rate=0.3, seed=2),
    published("deit3_small_patch16_224", batch=2, keep=98, drop_path_rate=0.2, seed=3),
    published("cait_xxs24_224", layer_scale_init=1e-5, batch=2, keep=98, drop_path_rate=0.2, seed=9),
    small("small_plain", VisionTransformer, 28, 7, 64, 6, 4, 10, batch=3, keep=8, drop_path_rate=0.4, seed=4),
    small("small_distilled", VisionTransformerDistilled, 30, 5, 40, 3, 5, 7, batch=5, keep=1, drop_path_rate=0.6, seed=5),
    small("small_deit3", VisionTransformer, 48, 8, 96, 4, 3, 21, uniform=True, arguments=DEIT3, batch=2, keep=36,
          drop_path_rate=0.5, seed=6),
    small("small_cait", Cait, 40, 8, 36, 3, 6, 9, uniform=True, arguments={"init_values": 0.1, "depth_token_only": 3},
          batch=3, keep=7, drop_path_rate=0.4, seed=10),
    small("small_mae", VisionTransformer, 30, 6, 48, 4, 4, 12, arguments={"global_pool": "avg"}, batch=3, keep=11,
          drop_path_rate=0.3, seed=11),
    small("one_block", VisionTransformer, 12, 4, 24, 1, 2, 3, batch=4, keep=2, drop_path_rate=0.5, seed=7),
    small("one_block_uniform", VisionTransformer, 12, 3, 16, 1, 1, 2, uniform=True, arguments=DEIT3, batch=6, keep=15,
          drop_path_rate=0.5, seed=8),
    small("one_block_cait", Cait, 12, 3, 16, 1, 2, 40, uniform=True, arguments={"init_values": 0.1, "depth_token_only": 1},
          batch=5, keep=5, drop_path_rate=0.5, seed=12),
    small("one_block_mae", VisionTransformer, 12, 4, 16, 1, 2, 4, arguments={"global_pool": "avg"}, batch=2, keep=3,
          drop_path_rate=0.5, seed=13),
]
(OUT / "cases.json").write_text(json.dumps(cases))
