"""Pictures for the inputs of the reference scripts."""
import numpy as np


def smooth_with_edges(rng, height, width):
    """Smooth colours, hard edges and noise, which are difficult for resamplers and JPEG encoders."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    planes = []
    for _ in range(3):
        fy, fx, phase = rng.uniform(0.01, 0.6), rng.uniform(0.01, 0.6), rng.uniform(0, 6)
        plane = 127 + 100 * np.sin(fy * y + fx * x + phase)
        plane[(x > rng.uniform(0, width)) & (y > rng.uniform(0, height))] = rng.choice([0, 255])
        planes.append(plane + rng.normal(0, rng.choice([0, 5, 60]), plane.shape))
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)
