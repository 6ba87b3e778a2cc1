"""What timm and PyTorch say about the models: parameter lists of the published ones; weights, images, logits, attention
and gradients of three published ones and of small odd ones. Forward passes that timm has no argument for (kept patches,
given drop path uniforms) are written here with timm's own modules.

N patches, K kept, T tokens in front, B images, D width, L depth."""

import json
import pathlib
import sys
import unittest.mock

import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from timm.models.deit import VisionTransformerDistilled

OUT = pathlib.Path(sys.argv[1])
PUBLISHED = [f"deit_{size}_patch16_224" for size in ("tiny", "small", "base")] + ["deit_base_patch16_384"]
PUBLISHED += [f"deit_{size}_distilled_patch16_224" for size in ("tiny", "small", "base")]
PUBLISHED += ["deit_base_distilled_patch16_384"]
PUBLISHED += [f"deit3_{size}_patch16_224" for size in ("small", "medium", "base", "large")] + ["deit3_huge_patch14_224"]
PUBLISHED += [f"deit3_{size}_patch16_384" for size in ("small", "base", "large")]


def write_parameter_lists():
    lists = {}
    linspace = torch.linspace
    for name in PUBLISHED:
        # Nothing is allocated on "meta", but timm reads its drop path rates back.
        with torch.device("meta"), unittest.mock.patch("torch.linspace", lambda *args: linspace(*args, device="cpu")):
            model = timm.create_model(name)
        lists[name] = [[key, list(value.shape)] for key, value in model.state_dict().items()]
    (OUT / "parameters.json").write_text(json.dumps(lists))


def perturb(model, generator):
    """Random values where the initialisation has constants, and attention that is not uniform; not so far from it that
    float32 itself can't tell the patches to keep."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        with torch.no_grad():
            if name.endswith("gamma"):
                parameter.copy_(0.4 + 0.2 * noise)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.1 * noise)
            elif "token" in name or "pos_embed" in name:
                parameter.copy_(0.3 * noise)
            elif "qkv.weight" in name:
                parameter.copy_(0.9 * noise / parameter.shape[1] ** 0.5)
            elif parameter.dim() == 2:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)


class GivenDropPath(torch.nn.Module):
    """timm 0.3.2's drop_path with its uniforms given: x / keep * floor(keep + U)."""

    def __init__(self, rate, uniforms):
        super().__init__()
        self.keep, self.uniforms = 1 - rate, uniforms

    def forward(self, x):
        return x.div(self.keep) * (self.keep + self.uniforms).floor().view(-1, 1, 1)


def forward(model, images, kept=None):
    """[logits, or both heads' logits], class attention of the last block [B, N or K]"""
    front = model.num_prefix_tokens
    x = model.patch_embed(images)  # [B, N, D]
    in_front = model.cls_token if front == 1 else torch.cat([model.cls_token, model.dist_token], 1)
    if model.pos_embed.shape[1] == x.shape[1]:
        x = x + model.pos_embed
    else:
        x = x + model.pos_embed[:, front:]
        in_front = in_front + model.pos_embed[:, :front]
    if kept is not None:
        x = x.gather(1, kept[:, :, None].expand(-1, -1, x.shape[2]))
    x = torch.cat([in_front.expand(len(x), -1, -1), x], 1)
    for block in model.blocks[:-1]:
        x = block(x)
    last = model.blocks[-1]
    qkv = last.attn.qkv(last.norm1(x)).unflatten(2, (3, last.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    attention = (qkv[0] @ qkv[1].transpose(2, 3) * last.attn.scale).float().softmax(-1)
    x = model.norm(last(x))
    heads = [model.head(x[:, 0])] + ([model.head_dist(x[:, 1])] if front == 2 else [])
    return [h.float() for h in heads], attention[:, :, 0, front:].mean(1).detach()


def well_separated_top(attention, keep):
    """The kept patches, refused where the choice hangs on rounding."""
    values, indices = attention.sort(1, descending=True)
    if keep < attention.shape[1]:
        assert ((values[:, keep - 1] - values[:, keep]) / values[:, keep]).min() > 2e-5, "choose another seed"
    return indices[:, :keep].contiguous()


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
        timm_logits = model(images)  # the mean of the heads where there are two
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

    def put_gradients(prefix, heads):
        model.zero_grad()
        for i, h in enumerate(heads):
            out[f"{prefix}cotangent{i}"] = torch.randn(h.shape, generator=generator)
        sum((h * out[f"{prefix}cotangent{i}"]).sum() for i, h in enumerate(heads)).backward()
        for key, parameter in model.named_parameters():
            out[f"{prefix}grad.{key}"] = parameter.grad.clone()

    put_gradients("", forward(model, images)[0])
    depth = len(model.blocks)
    uniforms = torch.rand(depth, 2, batch, generator=generator)
    out["drop_path_uniforms"] = uniforms
    rates = torch.linspace(0, drop_path_rate, depth) if not options["uniform_drop_path"] else [drop_path_rate] * depth
    for i, block in enumerate(model.blocks):
        block.drop_path1 = GivenDropPath(float(rates[i]), uniforms[i, 0])
        block.drop_path2 = GivenDropPath(float(rates[i]), uniforms[i, 1])
    heads, _ = forward(model, images)
    put("drop_path_", heads)
    put_gradients("drop_path_", heads)
    save_file({k: v.contiguous() for k, v in out.items()}, OUT / f"{name}.io.safetensors")
    return {"name": name, "drop_path_rate": drop_path_rate, "options": options}


def published(name, **rest):
    model = timm.create_model(name)
    deit3 = name.startswith("deit3")
    options = {"input_size": 224, "patch_size": 16, "width": model.embed_dim, "depth": len(model.blocks),
               "num_heads": model.blocks[0].attn.num_heads, "num_classes": 1000, "distilled": "distilled" in name,
               "layer_scale": deit3, "position_on_class_token": not deit3, "uniform_drop_path": deit3,
               "layer_scale_init": 1e-4}
    return write_case(name, model, options, **rest)


def small(name, input_size, patch_size, width, depth, num_heads, num_classes, distilled=False, deit3=False, uniform=False,
          **rest):
    kind = VisionTransformerDistilled if distilled else VisionTransformer
    model = kind(img_size=input_size, patch_size=patch_size, embed_dim=width, depth=depth, num_heads=num_heads,
                 num_classes=num_classes, qkv_bias=True, init_values=0.1 if deit3 else None,
                 **({} if distilled else {"no_embed_class": deit3}))
    options = {"input_size": input_size, "patch_size": patch_size, "width": width, "depth": depth,
               "num_heads": num_heads, "num_classes": num_classes, "distilled": distilled, "layer_scale": deit3,
               "position_on_class_token": not deit3, "uniform_drop_path": uniform, "layer_scale_init": 0.1}
    return write_case(name, model, options, **rest)


torch.manual_seed(20261124)
write_parameter_lists()
cases = [
    published("deit_tiny_patch16_224", batch=3, keep=98, drop_path_rate=0.1, seed=1),
    published("deit_tiny_distilled_patch16_224", batch=2, keep=98, drop_path_rate=0.3, seed=2),
    published("deit3_small_patch16_224", batch=2, keep=98, drop_path_rate=0.2, seed=3),
    small("small_plain", 28, 7, 64, 6, 4, 10, batch=3, keep=8, drop_path_rate=0.4, seed=4),
    small("small_distilled", 30, 5, 40, 3, 5, 7, distilled=True, batch=5, keep=1, drop_path_rate=0.6, seed=5),
    small("small_deit3", 48, 8, 96, 4, 3, 21, deit3=True, uniform=True, batch=2, keep=36, drop_path_rate=0.5, seed=6),
    small("one_block", 12, 4, 24, 1, 2, 3, batch=4, keep=2, drop_path_rate=0.5, seed=7),
    small("one_block_uniform", 12, 3, 16, 1, 1, 2, deit3=True, uniform=True, batch=6, keep=15, drop_path_rate=0.5, seed=8),
]
(OUT / "cases.json").write_text(json.dumps(cases))
