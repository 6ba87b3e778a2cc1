"""timm's model for each model name of this program."""

import timm

# MAE's fine-tuned models are timm's plain ones whose head reads the mean of the patches.
MAE = {"mae_vit_base_patch16": "vit_base_patch16_224", "mae_vit_large_patch16": "vit_large_patch16_224",
       "mae_vit_huge_patch14": "vit_huge_patch14_224"}


def timm_arguments(name):
    """(name, keyword arguments) for timm.create_model"""
    return (MAE[name], {"global_pool": "avg"}) if name in MAE else (name, {})


def create(name, num_classes=1000):
    base, arguments = timm_arguments(name)
    return timm.create_model(base, num_classes=num_classes, **arguments)
