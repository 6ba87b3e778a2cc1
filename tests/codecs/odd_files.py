"""Unusual and damaged files. `whole_...`: valid, however unusual; `damaged_...`: invalid."""
import io
import struct
import zlib

import numpy as np
from PIL import Image


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def frame_at(content):
    """The offset of the frame header's marker: FF Cn, length, precision, height, width, components (id, sampling, table)."""
    at = 2
    while not (0xC0 <= content[at + 1] <= 0xCF and content[at + 1] not in (0xC4, 0xC8, 0xCC)):
        at += 2 + struct.unpack(">H", content[at + 2:at + 4])[0]
    return at


def patched(content, at, values):
    return content[:at] + bytes(values) + content[at + len(values):]


def resampled_layout(picture, sampling, width, height, **options):
    """A file whose first component has these sampling factors: the blocks of a file that PIL writes, in another order."""
    across, down = sampling >> 4, sampling & 15
    columns, rows = -(-width // (8 * across)), -(-height // (8 * down))
    source = {2: (1, 16, 8), 4: (2, 16, 16)}[across * down]  # PIL's subsampling, size of its minimum coded unit
    content = jpeg(Image.fromarray(picture(rows * source[2], columns * source[1])), subsampling=source[0], **options)
    frame = frame_at(content)
    content = patched(content, frame + 5, struct.pack(">HH", height, width))
    return patched(content, frame + 11, [sampling])


def whole_files(picture, png, rng):
    files = {}
    photograph = Image.fromarray(picture(61, 83))
    for width, height in [(1, 1), (8, 16), (9, 17), (33, 31), (63, 64), (130, 97)]:
        for name, sampling in [("440", 0x12), ("411", 0x41), ("410", 0x14)]:
            files[f"whole_{name}_{width}x{height}.jpg"] = resampled_layout(picture, sampling, width, height)
            files[f"whole_{name}_restarts_{width}x{height}.jpg"] = resampled_layout(picture, sampling, width, height,
                                                                                   restart_marker_blocks=3)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files[f"whole_orientation{orientation}.JPEG"] = jpeg(photograph, exif=exif)
    for mode in ["RGB", "RGBA", "P", "L", "LA", "1", "I;16"]:
        buffer = io.BytesIO()
        (photograph.convert("L").convert("I").point(lambda v: v * 3, "I").convert("I;16") if mode == "I;16"
         else photograph.convert(mode)).save(buffer, "PNG")
        files[f"whole_png_of_{mode.replace(';', '_')}_named.JPEG"] = buffer.getvalue()
    files["whole_jpeg_named.png"] = jpeg(photograph)
    files["whole_restart_every_block.jpg"] = jpeg(photograph, restart_marker_blocks=1)
    files["whole_progressive_restarts.jpg"] = jpeg(photograph, progressive=True, restart_marker_blocks=5)
    files["whole_optimised.jpg"] = jpeg(photograph, optimize=True, quality=97)
    files["whole_large_comment_and_profile.jpg"] = jpeg(photograph, comment=b"c" * 60000, icc_profile=b"p" * 200000)
    plain = jpeg(photograph)
    files["whole_two_images.jpg"] = plain + plain
    files["whole_fill_bytes.jpg"] = plain[:2] + b"\xff" * 50 + plain[2:]
    for depth, colour, channels in [(16, 0, 1), (16, 2, 3), (16, 4, 2), (16, 6, 4), (1, 0, 1), (2, 0, 1), (4, 0, 1)]:
        samples = rng.integers(0, 2 ** depth, (23, 37, channels))
        files[f"whole_depth{depth}_colour{colour}.png"] = png(samples, depth, colour)
    files.update(warned_of_files(picture))
    files.update(checksum_files(files["whole_png_of_RGB_named.JPEG"]))
    files["whole_png_bytes_after_end.png"] = files["whole_png_of_RGB_named.JPEG"] + b"trailing" * 9
    return files


def scans_of(content):
    """Where each scan begins (its marker FF DA) and where its compressed data end."""
    scans, at = [], 2
    while content[at + 1] != 0xD9:
        begin, is_scan = at, content[at + 1] == 0xDA
        at += 2 + struct.unpack(">H", content[at + 2:at + 4])[0]
        if is_scan:
            while content[at] != 0xFF or content[at + 1] == 0 or 0xD0 <= content[at + 1] <= 0xD7:
                at += 1
            scans.append((begin, at))
    return scans


def warned_of_files(picture):
    """Files about which libjpeg warns although no pixel is lost; some of them are left to the decoder by the structure check."""
    photograph = Image.fromarray(picture(61, 83))
    baseline, restarts = jpeg(photograph), jpeg(photograph, restart_marker_blocks=2)
    progressive = jpeg(photograph, progressive=True)
    scan = scans_of(baseline)[0][0]
    parameters = scan + 2 + struct.unpack(">H", baseline[scan + 2:scan + 4])[0] - 3
    files = {"start": patched(baseline, parameters, [1]), "end": patched(baseline, parameters + 1, [62]),
             "bits": patched(baseline, parameters + 2, [0x01])}
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x07"
    files["adobe_transform"] = baseline[:2] + adobe + baseline[20:]
    files["jfif_version"] = patched(baseline, 11, [9])
    files["bogus_profile"] = baseline[:20] + b"\xff\xe2\x00\x12ICC_PROFILE\x00\x09\x01ab" + baseline[20:]
    for name, content in [("baseline", baseline), ("progressive", progressive)]:
        files[f"stray_before_end_{name}"] = content[:-2] + b"stray" + content[-2:]
        files[f"stray_before_segment_{name}"] = content[:20] + b"stray" + content[20:]
    with_stray = progressive
    for _, end in reversed(scans_of(progressive)):
        with_stray = with_stray[:end] + b"\x12\x34\x56" + with_stray[end:]
    files["stray_between_scans_of_progressive"] = with_stray
    number = restarts.index(b"\xff\xd0")
    files["stray_before_restart"] = restarts[:number] + b"\x01\x02\x03" + restarts[number:]
    begin, end = scans_of(progressive)[0]
    files["first_scan_twice_of_progressive"] = progressive[:end] + progressive[begin:end] + progressive[end:]
    return {f"whole_warned_of_{name}.jpg": content for name, content in files.items()}


def checksum_files(png_bytes):
    """A wrong checksum of an ancillary chunk before the pixels, which PIL refuses, and after them, which it accepts."""
    chunk = struct.pack(">I", 3) + b"tEXta\0b" + struct.pack(">I", zlib.crc32(b"tEXta\0b") ^ 1)
    return {"damaged_checksum_before_pixels.png": png_bytes[:33] + chunk + png_bytes[33:],
            "whole_warned_of_checksum_after_pixels.png": png_bytes[:-12] + chunk + png_bytes[-12:]}


def damaged_files(picture, rng):
    files = {"damaged_empty.jpg": b"", "damaged_one_byte.jpg": b"\xff"}
    photograph = Image.fromarray(picture(120, 160))
    buffer = io.BytesIO()
    photograph.save(buffer, "PNG")
    sources = {"baseline.jpg": jpeg(photograph), "progressive.jpg": jpeg(photograph, progressive=True),
               "restarts.jpg": jpeg(photograph, restart_marker_rows=1), "cmyk.jpg": jpeg(photograph.convert("CMYK")),
               "rgb.png": buffer.getvalue()}
    for name, content in sources.items():
        for share in range(5, 100, 5):
            files[f"damaged_cut_at_{share}_{name}"] = content[:len(content) * share // 100]
        files[f"damaged_without_end_{name}"] = content[:-2] if name.endswith("jpg") else content[:-12]
        files[f"damaged_last_byte_gone_{name}"] = content[:-1]
        for i in range(40):
            at = int(rng.integers(2, len(content)))
            files[f"damaged_byte{i}_{name}"] = patched(content, at, [int(rng.integers(0, 256))])
            gap = int(rng.integers(1, 200))
            files[f"damaged_gap{i}_{name}"] = content[:at] + content[at + gap:]
            files[f"damaged_zeros{i}_{name}"] = patched(content, at, bytes(min(gap, len(content) - at)))
    baseline = sources["baseline.jpg"]
    frame, tables = frame_at(baseline), baseline.index(b"\xff\xc4")
    files["damaged_twelve_bits.jpg"] = patched(baseline, frame + 1, [0xC1, *baseline[frame + 2:frame + 4], 12])
    files["damaged_lossless.jpg"] = patched(baseline, frame + 1, [0xC3])
    files["damaged_huge.jpg"] = patched(baseline, frame + 5, [255, 220, 255, 220])
    files["damaged_no_height.jpg"] = patched(baseline, frame + 5, [0, 0])
    files["damaged_huffman_table.jpg"] = patched(baseline, tables + 5, [255] * 16)
    files["damaged_no_huffman_tables.jpg"] = patched(baseline, tables + 1, [0xFE])
    files["damaged_no_frame.jpg"] = patched(baseline, frame + 1, [0xFE])
    scan = scans_of(baseline)[0][0]
    files["damaged_order_of_components.jpg"] = patched(baseline, scan + 5, [2, 0x11, 1, 0x00])
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    files["damaged_huge.png"] = (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
                                 + struct.pack(">I", zlib.crc32(b"IHDR" + header)))
    return files


def pil_pixels(content):
    """[height, width, 3], or None if PIL refuses the file."""
    try:
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
