"""Picture files that are, or are not, what they seem; and how a partner sends them."""

from __future__ import annotations

import io
import struct
import uuid
import zlib
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.factories.accounts import ApiClient

SECRET = "LATITUDE-39.9042-CANARY"


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpeg(width: int = 320, height: int = 200) -> bytes:
    """With a comment, and a place in its Exif data."""
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    exif = Image.Exif()
    exif[0x010E] = SECRET
    return _saved(image, "JPEG", exif=exif, comment=SECRET.encode())


def png(width: int = 320, height: int = 200, mode: str = "RGBA") -> bytes:
    note = PngInfo()
    note.add_text("Comment", SECRET)
    return _saved(Image.new(mode, (width, height)), "PNG", pnginfo=note)


def bomb(side: int = 50_000) -> bytes:
    """A whole PNG of side x side grey pixels, in some hundred bytes of headers and a short row of data."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif() -> bytes:
    return _saved(Image.new("P", (8, 8)), "GIF")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<html><script>alert(1)</script></html>"


def upload(
    api: ApiClient,
    subscriber: str,
    content: bytes,
    *,
    kind: str = "document_front",
    name: str = "card.jpg",
    key: str = "",
    **more: Any,
) -> Any:
    """POST /subscribers/{id}/documents"""
    body = encode_multipart(BOUNDARY, {"file": SimpleUploadedFile(name, content), "kind": kind, **more})
    return api.request(
        "POST",
        f"/api/v1/subscribers/{subscriber}/documents",
        body,
        headers={"Idempotency-Key": key or uuid.uuid4().hex},
        content_type=MULTIPART_CONTENT,
    )
