"""Encoded images (PNG, JPEG and their like) as arrays, by Pillow; what they take is known from
their headings, before any is unpacked.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.data.files.readers.columns import Column, require_unpacked_room

if TYPE_CHECKING:
    from PIL import Image

Pixels = npt.NDArray[np.uint8]

# Formats that Pillow decodes without another program.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8", b"RIFF", b"P5", b"P6", b"II*\0", b"MM\0*")
_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # more than 8 bits of a colour
_FLOAT = 4  # bytes of a number that is learnt from, beside its byte
_OBJECT = re.compile(r" <[^>]* object at [^>]*>")  # as Python prints a file that has no name
# What Pillow raises on damaged images.
_DAMAGED = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, OverflowError, MemoryError,
    struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class ImageFormat:
    """What images become: ``size`` is (height, width), or None if they must have one size already;
    ``gray`` makes all of them grey. ``settable`` says whether the user can set these options, so
    that messages name them.
    """

    size: tuple[int, int] | None = None
    gray: bool = False
    settable: bool = True

    @classmethod
    def of(cls, size: int | list[int] | None, gray: bool) -> ImageFormat:
        """Raises ``ConfigError`` for a ``size`` that is neither null, one whole number above 0 nor
        two (height, width).
        """
        both = [size, size] if isinstance(size, int) else size
        if both is not None and (len(both) != 2 or not all(1 <= side <= 4096 for side in both)):
            valid = "must be null, one number of pixels, or [height, width], each 1 to 4096"
            raise ConfigError("size", size, valid)
        return cls(None if both is None else (both[0], both[1]), gray)


def is_image(column: Column) -> bool:
    """Whether a column holds encoded images, as far as its first value shows."""
    first = next((value for value in column.reshape(-1) if value is not None), None)
    return isinstance(first, bytes) and first.startswith(_STARTS)


def pixels_of(path: object, column: Column, name: str, wanted: ImageFormat, most: int) -> Pixels:
    """The images of a column as ``[S, colours, height, width]``.

    Raises ``ConfigError`` with the row of a missing or damaged image, or of one of another size,
    and for images that would take more than ``most`` bytes.
    """

    def data(row: int) -> bytes:
        value = column[row]
        if not isinstance(value, bytes):
            raise ConfigError(
                "path", path, f"has no image in row {row} (counted from 0) of column {name!r}"
            )
        return value

    def place(row: int) -> str:
        return f"row {row} (counted from 0), column {name!r}"

    return decoded(path, len(column), data, place, wanted, most)


def decoded(
    path: object,
    count: int,
    data: Callable[[int], bytes],
    place: Callable[[int], str],
    wanted: ImageFormat,
    most: int,
) -> Pixels:
    """``count`` images as ``[S, colours, height, width]``: one colour if all are grey, else three.

    ``data(i)`` are the bytes of image i, and ``place(i)`` says in a message where it is.
    """
    size, colours = wanted.size, 1
    for number in range(count):
        with _opened(path, data(number), place(number)) as image:
            found = image.height, image.width
            _require_plain(path, image, place(number))
            colours = 3 if not wanted.gray and image.mode not in _GREY else colours
        require_unpacked_room(path, 4 * found[0] * found[1], most)
        size = size or found
        if wanted.size is None and found != size:
            both = f"{found[0]} x {found[1]} pixels where the first has {size[0]} x {size[1]}"
            hint = (
                f"data.size=[{size[0]}, {size[1]}] scales all of them"
                if wanted.settable
                else "all images must have one size"
            )
            raise ConfigError("path", path, f"has in {place(number)} an image of {both}; {hint}")
        height, width = size
        require_unpacked_room(path, (1 + _FLOAT) * count * colours * height * width, most)
    pixels = np.empty((count, colours, *(size or (1, 1))), np.uint8)
    for number in range(count):
        with _opened(path, data(number), place(number)) as image:
            pixels[number] = _planes(image, colours, wanted.size)
    return pixels


@contextmanager
def _opened(path: object, data: bytes, place: str) -> Iterator[Image.Image]:
    """An image of which only the heading is read yet; messages say what is wrong by its place."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                yield image
    except ConfigError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ConfigError("path", path, f"has an image of too many pixels in {place}") from None
    except _DAMAGED as error:
        reason = _OBJECT.sub("", " ".join(str(error).split()))[:120]
        raise ConfigError(
            "path", path, f"has no image that can be read in {place} ({reason})"
        ) from None


def _require_plain(path: object, image: Image.Image, place: str) -> None:
    if image.mode in _DEEP:
        valid = f"has an image of more than 8 bits a colour in {place}; save it with 8"
        raise ConfigError("path", path, valid)


def _planes(image: Image.Image, colours: int, size: tuple[int, int] | None) -> Pixels:
    """The pixels of an image as ``[colours, height, width]``."""
    from PIL import Image

    plain = image.convert("L" if colours == 1 else "RGB")
    if size is not None and (plain.height, plain.width) != size:
        plain = plain.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(plain, np.uint8).reshape(*plain.size[::-1], colours).transpose(2, 0, 1)
