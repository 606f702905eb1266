"""Pictures of other kinds than 8 bits a colour."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gradloop.data.pictures.image_decoding import Decoding


def test_grey_of_16_bits_keeps_its_upper_byte_and_of_32_is_refused(tmp_path):
    values = (np.arange(16).reshape(4, 4) * 4096).astype(np.uint16)
    (tmp_path / "a.pgm").write_bytes(b"P5\n4 4\n65535\n" + values.astype(">u2").tobytes())
    Image.fromarray(values).save(tmp_path / "a.png")
    decoding = Decoding(height=None, width=None, channels=1, fit="crop")
    for name in ("a.pgm", "a.png"):
        assert decoding.decode(tmp_path / name)[:, :, 0].tolist() == (values >> 8).tolist()
    Image.fromarray((values / 65535).astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="32 bits"):
        decoding.decode(tmp_path / "a.tif")
