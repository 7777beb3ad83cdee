"""Pictures of documents and people: only real JPEG and PNG files of bearable size, and only their pixels are kept.

What a file is says its content, never its name. Its head is read first and the pixels are counted before any are
decoded, so that a small file that unpacks to gigabytes costs nothing. Then the picture is written anew as a JPEG:
metadata, comments, further files in its tail and everything else that is no pixel stay behind.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.Image import DecompressionBombError, DecompressionBombWarning

MAX_BYTES = 5 * 1024 * 1024
MAX_PIXELS = 30_000_000
# What is kept: enough to read the small print of a card that fills the picture.
_LONGEST_SIDE = 2600
_QUALITY = 88
_SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}


class ImageFault(Exception):
    """`code` is stable: image_too_large, image_type_not_accepted or image_unreadable."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG of ours; it shows nothing when printed."""

    jpeg: bytes = field(repr=False)
    width: int
    height: int


def read(content: bytes) -> Picture:
    """The picture as it will be kept, upright, without anything but pixels. :raises ImageFault:"""
    if len(content) > MAX_BYTES:
        raise ImageFault("image_too_large")
    kind = next((name for head, name in _SIGNATURES.items() if content.startswith(head)), None)
    if kind is None:
        raise ImageFault("image_type_not_accepted")
    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageFault("image_too_large")
            # The JPEG decoder itself leaves out what a smaller picture does not need.
            image.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
            image.load()
            upright = _flat(ImageOps.exif_transpose(image))
    except (DecompressionBombError, DecompressionBombWarning):
        raise ImageFault("image_too_large") from None
    except ImageFault:
        raise
    except Exception:  # whatever a decoder falls over: the file is the caller's
        raise ImageFault("image_unreadable") from None
    upright.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return _picture(upright)


def watermark(jpeg: bytes, *, lines: list[str], font_path: str = "") -> bytes:
    """The picture with these lines all over it, so that no part of a copy is without them.

    Pillow's own font knows Latin letters only; what it cannot draw becomes a dot unless `font_path` names another.
    """
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        base = image.convert("RGBA")
    size = max(14, base.width // 42)
    font = ImageFont.truetype(font_path, size) if font_path else ImageFont.load_default(size)
    text = "\n".join(line if font_path else _latin(line) for line in lines)
    box = ImageDraw.Draw(base).multiline_textbbox((0, 0), text, font=font)
    tile = Image.new("RGBA", (math.ceil(box[2]) + 3 * size, math.ceil(box[3]) + 3 * size))
    ImageDraw.Draw(tile).multiline_text(
        (size, size), text, font=font, fill=(200, 0, 0, 150), stroke_width=1, stroke_fill=(255, 255, 255, 150)
    )
    tile = tile.rotate(20, expand=True)
    layer = Image.new("RGBA", base.size)
    for top in range(-tile.height // 2, base.height, tile.height):
        for left in range(-tile.width // 2, base.width, tile.width):
            layer.paste(tile, (left, top))
    return _picture(Image.alpha_composite(base, layer).convert("RGB")).jpeg


def _flat(image: Image.Image) -> Image.Image:
    """Without an alpha channel, on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")


def _picture(image: Image.Image) -> Picture:
    # A new one, so that nothing that hangs on the old one is written.
    plain = Image.frombytes("RGB", image.size, image.tobytes())
    out = io.BytesIO()
    plain.save(out, "JPEG", quality=_QUALITY)
    return Picture(out.getvalue(), plain.width, plain.height)


def _latin(text: str) -> str:
    return "".join(character if " " <= character <= "~" else "." for character in text)
