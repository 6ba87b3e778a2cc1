"""image_seeds.py FOLDER: writes the seeds of image_law, small files of every kind that decoders distinguish. Needs PIL and
jpegtran of libjpeg-turbo-progs. It was run once; its files are in corpus/image_law."""
import io
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "codecs"))
from odd_files import frame_at, patched  # noqa: E402

OUT = pathlib.Path(sys.argv[1])
RNG = np.random.default_rng(3)
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


def picture(height, width):
    y, x = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(x / 5 + channel) * np.cos(y / 7) for channel in range(3)]
    return Image.fromarray((np.stack(waves, -1) + RNG.integers(0, 12, (height, width, 3))).astype(np.uint8))


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 40, "optimize": True, **options})
    return buffer.getvalue()


def transcoded(content, *arguments):
    return subprocess.run(["jpegtran", *arguments], input=content, capture_output=True, check=True).stdout


def in_scans(content, script):
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(script)
        file.flush()
        return transcoded(content, "-optimize", "-scans", file.name)


def with_factors(content, *factors):
    frame = frame_at(content)
    for component, factor in enumerate(factors):
        content = patched(content, frame + 11 + 3 * component, [factor])
    return content


def first_scan(content):
    begin = content.index(b"\xff\xda")
    end = begin + 2 + struct.unpack(">H", content[begin + 2:begin + 4])[0]
    while content[end] != 0xFF or content[end + 1] == 0:
        end += 1
    return begin, end


def jpeg_files():
    rgb, small = picture(33, 40), picture(16, 24)
    plain, progressive = jpeg(rgb, subsampling=2), jpeg(small, progressive=True)
    four = jpeg(Image.merge("CMYK", [*small.split(), small.convert("L")]))
    begin, end = first_scan(progressive)
    frame = frame_at(plain)
    return {
        "arithmetic": transcoded(plain, "-arithmetic"),
        "arithmetic-progressive": transcoded(plain, "-arithmetic", "-progressive"),
        "arithmetic-restarts": transcoded(plain, "-arithmetic", "-restart", "2B"),
        "extended-twelve-bits": patched(plain, frame + 1, [0xC1, *plain[frame + 2:frame + 4], 12]),
        "lossless": patched(plain, frame + 1, [0xC3]),
        "one-scan-each": in_scans(plain, "0;1;2;"),
        "two-scans": in_scans(plain, "0;1 2;"),
        "progressive-dc-alone": in_scans(plain, "0 1 2: 0-0, 0, 0;"),
        "progressive-refined-dc": in_scans(jpeg(small), "0 1 2: 0-0, 0, 1; 0 1 2: 0-0, 1, 0; 0: 1-63, 0, 0;"),
        "progressive-scan-twice": progressive[:end] + progressive[begin:end] + progressive[end:],
        "progressive-cmyk": transcoded(four, "-progressive"),
        "ycck": four[:four.index(b"Adobe") + 11] + b"\x02" + four[four.index(b"Adobe") + 12:],
        "adobe-ycbcr": plain[:2] + ADOBE + b"\x01" + plain[20:],
        "adobe-unknown": plain[:2] + ADOBE + b"\x07" + plain[20:],
        "no-application": plain[:2] + plain[20:],
        "factors-411": with_factors(plain, 0x41), "factors-440": with_factors(jpeg(small, subsampling=1), 0x12),
        "factors-chroma-larger": with_factors(jpeg(small, subsampling=1), 0x11, 0x21, 0x11),
        "factors-all-two": with_factors(jpeg(small.convert("L")), 0x22),
        "factors-of-three": with_factors(jpeg(picture(24, 24), subsampling=1), 0x31),
        "gray-restarts": jpeg(rgb.convert("L"), restart_marker_blocks=3),
        "stray-bytes": plain[:20] + b"stray" + plain[20:-2] + b"stray" + plain[-2:],
        "one-pixel": jpeg(picture(1, 1)), "wide-and-low": jpeg(picture(2, 120), subsampling=2),
    }


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(image, before=(), after=(), **options):
    """A PNG with chunks added after the header and before the end."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    content = buffer.getvalue()
    return (content[:33] + b"".join(chunk(*c) for c in before) + content[33:-12]
            + b"".join(chunk(*c) for c in after) + content[-12:])


def interlaced(depth, colour, height, width, palette=b""):
    """An Adam7 image without filters."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    data = b""
    for y0, x0, dy, dx in [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
                           (1, 0, 2, 1)]:
        rows, columns = len(range(y0, height, dy)), len(range(x0, width, dx))
        row_bytes = -(-columns * channels * depth // 8)
        data += b"".join(b"\0" + bytes(range(row_bytes)) for _ in range(rows if columns else 0))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 1)
    chunks = [(b"IHDR", header)] + ([(b"PLTE", palette)] if palette else [])
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks + [(b"IDAT", zlib.compress(data)), (b"IEND", b"")])


def png_files():
    rgb = picture(12, 9)
    frames = io.BytesIO()
    picture(6, 6).save(frames, "PNG", save_all=True, append_images=[picture(6, 6)], duration=10)
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    wide = Image.fromarray(RNG.integers(0, 65536, (9, 7), np.uint16))
    return {
        "animated": frames.getvalue(), "exif": png(rgb, [(b"eXIf", exif)]),
        "profile": png(rgb, [(b"iCCP", b"a\0\0" + zlib.compress(b"not a profile"))]),
        "palette-alpha": png(rgb.quantize(8), transparency=bytes(range(8))),
        "gray-key": png(rgb.convert("L"), [(b"tRNS", b"\0\x40")]), "gray-wide": png(wide),
        "gray-wide-key": png(wide, [(b"tRNS", b"\x12\x34")]),
        "ancillary": png(rgb, [(b"gAMA", b"\0\1\x86\xa0"), (b"sRGB", b"\0"), (b"bKGD", b"\0\1\0\2\0\3"),
                               (b"sBIT", b"\5\6\5"), (b"pHYs", b"\0\0\1\0\0\0\1\0\0"), (b"cHRM", bytes(32)),
                               (b"tIME", b"\x07\xea\1\1\1\1\1")],
                         [(b"tEXt", b"a\0b"), (b"zTXt", b"a\0\0" + zlib.compress(b"text")), (b"abCd", b"odd")]),
        "interlaced-gray": interlaced(1, 0, 9, 11), "interlaced-gray-wide": interlaced(16, 0, 5, 5),
        "interlaced-palette": interlaced(4, 3, 10, 10, bytes(range(48))),
        "interlaced-rgb": interlaced(8, 2, 9, 9), "interlaced-rgba-wide": interlaced(16, 6, 3, 4),
        "interlaced-gray-alpha": interlaced(8, 4, 2, 9),
    }


for ending, files in [("jpg", jpeg_files()), ("png", png_files())]:
    for name, content in files.items():
        (OUT / f"{name}.{ending}").write_bytes(content)
