"""What reference.py and random_step.py share: models and pieces of a step of MaskedKD in PyTorch and timm.

B images, N patches, K kept, H heads."""

import torch
from timm.models.vision_transformer import VisionTransformer

MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def normalised(images):
    """[B, S, S, 3] uint8 -> [B, 3, S, S] float32"""
    return ((images / 255.0 - MEAN.to(images.device)) / DEVIATION.to(images.device)).permute(0, 3, 1, 2).contiguous()


class ClassAttention:
    """Attention of the class token in the last block, mean over heads, without the tokens in front [B, N]."""

    def __init__(self, model):
        self.attention, self.front = model.blocks[-1].attn, model.num_prefix_tokens
        self.attention.register_forward_pre_hook(self.look)

    def look(self, module, inputs):
        x = inputs[0].detach()
        batch, tokens, width = x.shape
        heads = module.num_heads
        q, k, _ = module.qkv(x).reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        weights = (q[:, :, :1] @ k.transpose(-2, -1) / (width // heads) ** 0.5).softmax(-1)  # [B, H, 1, front + N]
        self.value = weights[:, :, 0, self.front:].float().mean(1)


@torch.no_grad()
def teacher_logits(model, images, kept):
    x = model.patch_embed(images) + model.pos_embed
    x = x.gather(1, kept[:, :, None].expand(-1, -1, x.shape[2]))
    x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], 1)
    for block in model.blocks:
        x = block(x)
    return model.head(model.norm(x)[:, 0])


def top(scores, keep):
    return scores.topk(keep, dim=1).indices


def clear_top(scores, keep):
    """The largest k, where rounding can't make others of them."""
    values, indices = scores.sort(1, descending=True)
    gap = (values[:, keep - 1] - values[:, keep]) / values[:, keep].abs()
    assert gap.min() > 1e-5, "choose another seed"
    return indices[:, :keep].contiguous()


def small_student(size, patch, kind=VisionTransformer):
    return kind(img_size=size, patch_size=patch, embed_dim=48, depth=3, num_heads=3, num_classes=10)


def small_teacher(size, patch):
    """A DeiT3."""
    return VisionTransformer(img_size=size, patch_size=patch, embed_dim=64, depth=3, num_heads=4, num_classes=10,
                             no_embed_class=True, init_values=1e-4)
