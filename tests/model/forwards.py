"""Forward passes of timm's models that timm does not offer: kept patches, and the attention to them.
B images, N patches, K kept, T tokens in front, H heads, D width."""

import torch
from timm.models.cait import Cait


def perturb(model, generator):
    """Random values where the initialisation has constants, and attention that is not uniform, but not so extreme that float32
        can't distinguish the patches to keep."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        with torch.no_grad():
            if "gamma" in name:
                parameter.copy_(0.4 + 0.2 * noise)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.1 * noise)
            elif "token" in name or "pos_embed" in name:
                parameter.copy_(0.3 * noise)
            elif "proj_l.weight" in name or "proj_w.weight" in name:  # heads that are mixed strongly would differ little
                parameter.copy_(torch.eye(len(parameter)) + 0.2 * noise)
            elif "qkv.weight" in name or name.endswith((".q.weight", ".k.weight")):
                parameter.copy_(0.9 * noise / parameter.shape[1] ** 0.5)
            elif parameter.dim() == 2:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)


def forward(model, images, kept=None):
    """[logits, or both heads' logits], attention of the token that the head reads in the last block [B, N or K]: the class
        token, or, if the head reads the mean of the patches, the mean over them."""
    return (forward_cait if isinstance(model, Cait) else forward_vit)(model, images, kept)


def gather(x, kept):
    return x if kept is None else x.gather(1, kept[:, :, None].expand(-1, -1, x.shape[2]))


def widened(x):
    """To float32 where it is narrower, as autocast has logits and softmaxes."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def exact_softmax(scores):
    return widened(scores).softmax(-1)


def heads_of(x, count):
    """[B, T, D] -> [B, H, T, D / H]"""
    return x.unflatten(2, (count, -1)).transpose(1, 2)


def forward_vit(model, images, kept):
    front = model.num_prefix_tokens
    x = model.patch_embed(images)  # [B, N, D]
    in_front = model.cls_token if front == 1 else torch.cat([model.cls_token, model.dist_token], 1)
    if model.pos_embed.shape[1] == x.shape[1]:
        x = x + model.pos_embed
    else:
        x = x + model.pos_embed[:, front:]
        in_front = in_front + model.pos_embed[:, :front]
    x = torch.cat([in_front.expand(len(x), -1, -1), gather(x, kept)], 1)
    for block in model.blocks[:-1]:
        x = block(x)
    last = model.blocks[-1]
    query, key, _ = last.attn.qkv(last.norm1(x)).chunk(3, 2)
    query, key = heads_of(query, last.attn.num_heads), heads_of(key, last.attn.num_heads)
    attention = exact_softmax(query @ key.transpose(2, 3) * last.attn.scale)  # [B, H, T + K, T + K]
    x = model.norm(last(x))
    if model.global_pool == "avg":
        logits = [model.head(model.fc_norm(x[:, front:].mean(1)))]
        return [widened(logits[0])], attention[:, :, front:, front:].mean((1, 2)).detach()
    logits = [model.head(x[:, 0])] + ([model.head_dist(x[:, 1])] if front == 2 else [])
    return [widened(h) for h in logits], attention[:, :, 0, front:].mean(1).detach()


def forward_cait(model, images, kept):
    x = gather(model.patch_embed(images) + model.pos_embed, kept)
    for block in model.blocks:
        x = block(x)
    token = model.cls_token.expand(len(x), -1, -1)
    for block in model.blocks_token_only:
        tokens = block.norm1(torch.cat([token, x], 1))
        query, key = heads_of(block.attn.q(tokens[:, :1]), block.attn.num_heads), heads_of(block.attn.k(tokens), block.attn.num_heads)
        attention = exact_softmax(query @ key.transpose(2, 3) * block.attn.scale)  # [B, H, 1, 1 + K]
        token = block(x, token)
    return [widened(model.head(model.norm(token)[:, 0]))], attention[:, :, 0, 1:].mean(1).detach()


def well_separated_top(attention, keep):
    """The kept patches; fails if the choice depends on rounding."""
    values, indices = attention.sort(1, descending=True)
    if keep < attention.shape[1]:
        assert ((values[:, keep - 1] - values[:, keep]) / values[:, keep]).min() > 2e-5, "choose another seed"
    return indices[:, :keep].contiguous()
