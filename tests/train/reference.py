"""Five training steps of MaskedKD in PyTorch, fp32: DeiT-Tiny learns from DeiT3-Small, which sees the 98 patches of 196 that
the student's class token attends to most. Images, initial weights, the loss and gradient of the first step, all losses and
the final weights.

B images, N patches, K kept, H heads."""

import pathlib
import sys

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = pathlib.Path(sys.argv[1])
STEPS, BATCH, KEEP, CLASSES, SMOOTHING, ALPHA, RATE = 5, 6, 98, 1000, 0.1, 0.5, 5e-4


def randomise(model, generator):
    """Attention and outputs that are far from uniform, so that the choice of patches is not a toss-up."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gamma"):
                parameter.copy_(0.4 + 0.2 * noise)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            elif "token" in name or "pos_embed" in name:
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(noise / (parameter[0].numel() if parameter.dim() > 1 else 100) ** 0.5)


class ClassAttention:
    """Attention of the class token in the last block, mean over heads, without itself [B, N]."""

    def __init__(self, model):
        self.attention = model.blocks[-1].attn
        self.attention.register_forward_pre_hook(self.look)

    def look(self, module, inputs):
        x = inputs[0].detach()
        batch, tokens, width = x.shape
        heads = module.num_heads
        q, k, _ = module.qkv(x).reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        weights = (q[:, :, :1] @ k.transpose(-2, -1) / (width // heads) ** 0.5).softmax(-1)  # [B, H, 1, N + 1]
        self.value = weights[:, :, 0, 1:].mean(1)


@torch.no_grad()
def teacher_logits(model, images, kept):
    x = model.patch_embed(images) + model.pos_embed
    x = x.gather(1, kept[:, :, None].expand(-1, -1, x.shape[2]))
    x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], 1)
    for block in model.blocks:
        x = block(x)
    return model.head(model.norm(x)[:, 0])


generator = torch.Generator().manual_seed(3)
student = timm.create_model("deit_tiny_patch16_224")
teacher = timm.create_model("deit3_small_patch16_224").eval()
randomise(student, generator)
randomise(teacher, generator)
save_file(student.state_dict(), OUT / "student.safetensors")
save_file(teacher.state_dict(), OUT / "teacher.safetensors")

# Coarse blobs of colour: patches differ.
images = torch.rand(STEPS, BATCH, 3, 9, 9, generator=generator).flatten(0, 1)
images = (F.interpolate(images, 224, mode="bicubic").clamp(0, 1) * 255).round().to(torch.uint8)
images = images.permute(0, 2, 3, 1).reshape(STEPS, BATCH, 224, 224, 3).contiguous()
labels = torch.randint(CLASSES, (STEPS, BATCH), generator=generator)
mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

no_decay = [p for n, p in student.named_parameters() if p.dim() == 1 or n in ("pos_embed", "cls_token")]
decay = [p for n, p in student.named_parameters() if not (p.dim() == 1 or n in ("pos_embed", "cls_token"))]
assert (len(decay), len(no_decay)) == (50, 102)
optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": no_decay, "weight_decay": 0.0}], lr=RATE)

attention = ClassAttention(student)
losses, first_gradients = [], {}
for step in range(STEPS):
    batch = ((images[step] / 255.0 - mean) / deviation).permute(0, 3, 1, 2).contiguous()
    logits = student(batch)
    kept = attention.value.topk(KEEP, 1).indices
    taught = teacher_logits(teacher, batch, kept)
    cross_entropy = F.cross_entropy(logits, labels[step], label_smoothing=SMOOTHING)
    distillation = F.kl_div(logits.log_softmax(-1), taught.log_softmax(-1), reduction="batchmean", log_target=True)
    loss = (1 - ALPHA) * cross_entropy + ALPHA * distillation
    optimizer.zero_grad()
    loss.backward()
    if step == 0:
        first_gradients = {f"gradient.{n}": p.grad.clone() for n, p in student.named_parameters()}
    optimizer.step()
    losses.append(loss.item())

save_file({"images": images, "labels": labels, "losses": torch.tensor(losses, dtype=torch.float64)} | first_gradients
          | {f"final.{n}": p.detach().clone() for n, p in student.named_parameters()}, OUT / "steps.safetensors")
