"""Results of PIL and torchvision for the inputs of the tests of codecs.

python reference.py OUTPUT_FOLDER
"""
import io
import pathlib
import struct
import sys
import warnings
import zlib

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from torchvision import transforms

import odd_files
import pictures

OUT = pathlib.Path(sys.argv[1])
warnings.filterwarnings("ignore", message="Palette images with Transparency")
RNG = np.random.default_rng(20240607)


def picture(height, width):
    return pictures.smooth_with_edges(RNG, height, width)


def resample():
    sides = [1, 2, 3, 7, 28, 33, 64, 100, 224, 255, 256, 257, 301, 500]
    tensors = {}
    for i in range(500):  # the last 100 bilinear
        height, width = RNG.choice(sides, 2)
        if i % 8 == 0:  # extreme aspects
            height, width = (int(RNG.integers(1, 4)), 900) if i % 16 else (900, int(RNG.integers(1, 4)))
        image = picture(height, width)
        box_height, box_width = int(RNG.integers(1, height + 1)), int(RNG.integers(1, width + 1))
        if i % 5 == 0:
            box_height, box_width = int(height), int(width)
        top, left = int(RNG.integers(0, height - box_height + 1)), int(RNG.integers(0, width - box_width + 1))
        out_height, out_width = (int(side) for side in RNG.choice(sides[:-2] if i % 3 else [1, 28, 64, 224], 2))
        if i % 7 == 0:
            out_width = box_width  # one pass only
        if i % 11 == 0:
            out_height = box_height
        result = Image.fromarray(image).crop((left, top, left + box_width, top + box_height))
        result = result.resize((out_width, out_height), Image.BICUBIC if i < 400 else Image.BILINEAR)
        tensors[f"{i}.image"] = image
        tensors[f"{i}.box"] = np.array([top, left, box_height, box_width], np.int32)
        tensors[f"{i}.result"] = np.asarray(result)
    save_file(tensors, OUT / "resample.safetensors")


def png(samples, depth, colour, palette=None, transparent=None, interlaced=False):
    """A PNG of samples [height, width, channels], made by the specification; filters None, Sub and Up in turn."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = samples.shape
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    data = b""
    for y0, x0, dy, dx in passes if interlaced else [(0, 0, 1, 1)]:
        part = samples[y0::dy, x0::dx]
        if part.size == 0:
            continue
        previous = None
        for y, row in enumerate(part.reshape(part.shape[0], -1)):
            if depth == 16:
                packed = row.astype(">u2").tobytes()
            else:
                bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth:]
                packed = np.packbits(bits.reshape(-1)).tobytes()
            packed = np.frombuffer(packed, np.uint8)
            step = max(1, depth * channels // 8)
            kind = y % 3 if previous is not None else 0
            shifted = np.concatenate([np.zeros(step, np.uint8), packed])[:len(packed)] if kind == 1 else \
                previous if kind == 2 else np.zeros_like(packed)
            data += bytes([kind]) + (packed - shifted).tobytes()
            previous = packed
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced)))]
    chunks += [(b"PLTE", palette)] if palette is not None else []
    chunks += [(b"tRNS", transparent)] if transparent is not None else []
    chunks += [(b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks)


def decode():
    (OUT / "decode").mkdir()
    files = {}
    for height, width in [(1, 1), (5, 3), (37, 50), (64, 33)]:
        for interlaced in [False, True]:
            suffix = f"{width}x{height}{'_interlaced' if interlaced else ''}.png"
            for depth in [1, 2, 4, 8, 16]:
                gray = RNG.integers(0, min(2 ** depth, 700), (height, width, 1))
                files[f"gray{depth}_{suffix}"] = png(gray, depth, 0, interlaced=interlaced)
                files[f"gray{depth}_key_{suffix}"] = png(gray, depth, 0, transparent=struct.pack(">H", 1),
                                                         interlaced=interlaced)
            for depth in [1, 2, 4, 8]:
                colours = 2 ** depth
                index = RNG.integers(0, colours, (height, width, 1))
                palette = RNG.integers(0, 256, 3 * colours, np.uint8).tobytes()
                alpha = RNG.integers(0, 256, colours, np.uint8).tobytes()
                files[f"palette{depth}_{suffix}"] = png(index, depth, 3, palette, interlaced=interlaced)
                files[f"palette{depth}_alpha_{suffix}"] = png(index, depth, 3, palette, alpha, interlaced)
            for depth in [8, 16]:
                for name, colour, channels in [("gray_alpha", 4, 2), ("rgb", 2, 3), ("rgba", 6, 4)]:
                    samples = RNG.integers(0, 2 ** depth, (height, width, channels))
                    files[f"{name}{depth}_{suffix}"] = png(samples, depth, colour, interlaced=interlaced)
    for height, width in [(1, 1), (8, 8), (17, 31), (240, 321)]:
        rgb = Image.fromarray(picture(height, width))
        for name, image, options in [
                ("gray", rgb.convert("L"), {}), ("444", rgb, {"subsampling": 0}), ("422", rgb, {"subsampling": 1}),
                ("420", rgb, {"subsampling": 2}), ("rgb", rgb, {"keep_rgb": True}), ("cmyk", rgb.convert("CMYK"), {}),
                ("progressive", rgb, {"progressive": True, "subsampling": 2}), ("coarse", rgb, {"quality": 8}),
                ("restart", rgb, {"restart_marker_rows": 1}), ("fine", rgb, {"quality": 100, "subsampling": 0}),
                ("progressive_gray", rgb.convert("L"), {"progressive": True})]:
            buffer = io.BytesIO()
            if name == "cmyk":
                image = Image.merge("CMYK", [*image.split()[:3], rgb.convert("L")])  # a black channel that is not 0 everywhere
            image.save(buffer, "JPEG", **{"quality": 90, **options})
            files[f"{name}_{width}x{height}.jpg"] = buffer.getvalue()
        cmyk = files[f"cmyk_{width}x{height}.jpg"]
        adobe = cmyk.index(b"Adobe") - 4  # marker, length, "Adobe", version, flags 0, flags 1, transform
        files[f"ycck_{width}x{height}.jpg"] = cmyk[:adobe + 15] + b"\x02" + cmyk[adobe + 16:]
        files[f"cmyk_without_adobe_{width}x{height}.jpg"] = cmyk[:adobe] + cmyk[adobe + 16:]
        # As written by cameras and web servers: bytes between the last scan and the end, bytes after the end.
        plain = files[f"420_{width}x{height}.jpg"]
        files[f"bytes_before_end_{width}x{height}.jpg"] = plain[:-2] + b"\x00\x01\x02" + plain[-2:]
        files[f"bytes_after_end_{width}x{height}.jpg"] = plain + b"trailing" * 9
    for photograph in sorted(pathlib.Path("/usr/share/backgrounds/mate/nature").glob("*.jpg"))[:3]:
        files[f"photograph_{photograph.name}"] = photograph.read_bytes()
    tensors = {}
    for name, content in files.items():
        (OUT / "decode" / name).write_bytes(content)
        tensors[name] = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    save_file(tensors, OUT / "decode.safetensors")


def packing():
    """Files that PIL writes, and torchvision's Resize of the shorter edge."""
    tensors = {}
    for i in range(60):
        height, width = (375, 500) if i < 4 else (int(side) for side in RNG.integers(1, 90, 2))
        quality = [95, 75, 100, 50, 1, 98, 30][i % 7]
        buffer = io.BytesIO()
        tensors[f"{i}.image"] = picture(height, width)
        Image.fromarray(tensors[f"{i}.image"]).save(buffer, "JPEG", quality=quality)
        tensors[f"{i}.quality"] = np.array([quality], np.int32)
        tensors[f"{i}.file"] = np.frombuffer(buffer.getvalue(), np.uint8)
        tensors[f"{i}.decoded"] = np.asarray(Image.open(buffer).convert("RGB"))
        for mode in ["BICUBIC", "BILINEAR"]:
            edge = int(RNG.integers(1, min(height, width) + 1))
            resize = transforms.Resize(edge, interpolation=transforms.InterpolationMode[mode])
            tensors[f"{i}.{mode}.edge"] = np.array([edge], np.int32)
            tensors[f"{i}.{mode}.resized"] = np.asarray(resize(Image.fromarray(tensors[f"{i}.image"])))
    save_file(tensors, OUT / "packing.safetensors")


def odd():
    """Files in odd/, with the pixels of those that PIL reads."""
    (OUT / "odd").mkdir()
    tensors = {}
    for name, content in (odd_files.whole_files(picture, png, RNG) | odd_files.damaged_files(picture, RNG)).items():
        (OUT / "odd" / name).write_bytes(content)
        pixels = odd_files.pil_pixels(content)
        if pixels is not None:
            tensors[name] = pixels
    save_file(tensors, OUT / "odd.safetensors")


def foreign():
    """Pictures in the other formats that PIL writes, each with the name that the program must report."""
    (OUT / "foreign").mkdir()
    photograph = Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
    names = {"AVIF": "AVIF", "BMP": "BMP", "DDS": "DDS", "EPS": "PostScript", "GIF": "GIF", "ICNS": "ICNS", "ICO": "ICO",
             "JPEG2000": "JPEG 2000", "PCX": "PCX", "PDF": "PDF", "PPM": "PNM", "SGI": "SGI", "TIFF": "TIFF",
             "WEBP": "WebP"}
    Image.init()
    for format_of_pil, name in names.items():
        if format_of_pil in Image.SAVE:
            photograph.save(OUT / "foreign" / f"{name}.jpg", format=format_of_pil)


for part in [resample, decode, packing, odd, foreign]:
    part()
