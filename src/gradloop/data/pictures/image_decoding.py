"""From a picture file to bytes of one size and mode."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

TOGETHER = 64  # files a thread takes at a time
TURNED = 0x0112  # EXIF's orientation: from 5 on, height and width change places


@dataclass(frozen=True)
class Decoding:
    """What every picture is turned into.

    height, width: pixels; None leaves a picture as it is.
    channels: 3 for colours, 1 for grey.
    fit: `crop` cuts the middle out of a picture of another shape; `squash` changes its shape.
    """

    height: int | None
    width: int | None
    channels: int
    fit: str

    def decode(self, path: str | Path) -> np.ndarray:
        """Return uint8 [height, width, channels]; raise whatever Pillow raises for a broken file.

        The camera's orientation is applied, transparent pixels become white, 16-bit grey keeps its upper
        byte.
        """
        with Image.open(path) as file:
            if self.height and self.width:
                # a JPEG is decoded at a half, quarter or eighth of its size as long as that is no less than what is
                # needed: libjpeg-turbo then computes the fewer values only
                turned = file.getexif().get(TURNED, 1) >= 5
                file.draft(None, (self.height, self.width) if turned else (self.width, self.height))
            ImageOps.exif_transpose(file, in_place=True)
            file.load()
            picture = _plain(file, "RGB" if self.channels == 3 else "L")
        if self.height and self.width and picture.size != (self.width, self.height):
            size, method = (self.width, self.height), Image.Resampling.BILINEAR
            picture = ImageOps.fit(picture, size, method) if self.fit == "crop" else picture.resize(size, method)
        values = np.asarray(picture, dtype=np.uint8)
        return values[:, :, None] if values.ndim == 2 else values


def _plain(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode == "F" or (picture.mode == "I" and picture.format != "PPM"):
        raise ValueError("numbers of 32 bits, whose range nobody knows; expected 8 or 16 bits a colour")
    if picture.mode.startswith("I"):  # of 16 bits; Pillow scales a PGM of fewer up to these
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert(mode)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture if picture.mode == mode else picture.convert(mode)


Broken = dict[int, str]  # row -> why


def decode_all(
    paths: Sequence[str | Path], decoding: Decoding, *, shape: tuple[int, int, int], threads: int
) -> Iterator[tuple[np.ndarray, Broken]]:
    """Decode files in parallel and yield them in order, a few at a time: uint8 [n, H, W, C], and the broken.

    The rows of broken files are black. A picture of another shape than `shape` (height, width, channels)
    counts as broken. Pillow lets other threads run while it decodes.
    """

    def some(start: int) -> tuple[np.ndarray, Broken]:
        batch = paths[start : start + TOGETHER]
        values = np.zeros((len(batch), *shape), dtype=np.uint8)
        broken: Broken = {}
        for place, path in enumerate(batch):
            try:
                picture = decoding.decode(path)
            except Exception as error:  # Pillow's plugins raise nearly anything on a broken file
                broken[start + place] = _reason(path, error)
                continue
            if picture.shape == shape:
                values[place] = picture
            else:
                size = " x ".join(map(str, picture.shape[1::-1]))
                broken[start + place] = (
                    f"is {size} pixels and others are {shape[1]} x {shape[0]}; set data.image_size"
                )
        return values, broken

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future] = deque()
        for start in range(0, len(paths), TOGETHER):
            waiting.append(pool.submit(some, start))
            if len(waiting) > 2 * threads:  # no further ahead: memory would fill
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _reason(path: str | Path, error: Exception) -> str:
    if not Path(path).exists():
        return "is a link that leads nowhere"
    if Path(path).stat().st_size == 0:
        return "is empty"
    text = str(error).splitlines()[0] if str(error) else ""
    text = "is no picture" if "cannot identify image file" in text else text or "can't be decoded"
    return text if text.startswith("is ") else f"{type(error).__name__}: {text}"
