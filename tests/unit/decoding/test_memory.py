"""What decoding holds at once, measured from outside: a process that may not grow."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import io, json, os, zlib
import numpy as np
from PIL import Image
from eyestream.decoding import Limits, Preprocessing, decode
from eyestream.errors import Rejected
from eyestream.testing.badpictures import forge

def saved(height, width, kind, **options):
    out = io.BytesIO()
    Image.new("RGB", (width, height), (90, 40, 20)).save(out, kind, **options)
    return out.getvalue()

def jpeg_of_many_pixels():
    # a flat JPEG repeats one block, so a large one is the small one with another size and a longer scan
    import simplejpeg
    rows = np.broadcast_to(np.array([90, 40, 20], np.uint8), (6000, 8000, 3))
    return simplejpeg.encode_jpeg(np.ascontiguousarray(rows), quality=80)

def inflating_text():
    value = saved(64, 64, "PNG")
    return value[:33] + forge.chunk(b"zTXt", b"a\\0\\0" + zlib.compress(bytes(2**26))) + value[33:]

def inflating_profile():
    value = saved(64, 64, "PNG")
    return value[:33] + forge.chunk(b"iCCP", b"a\\0\\0" + zlib.compress(bytes(2**26))) + value[33:]

def elements_without_end():
    return forge.dicom(64, 64, bytes(4096), before=forge.element(8, 0x16, b"UI", b"") * 600_000)

MAKE = {
    "png that claims gigapixels": lambda: forge.png(30000, 30000),
    "png that inflates to 300 MB": lambda: forge.png(10000, 10000, data=bytes(10000 * 30001)),
    "png text that inflates": inflating_text,
    "png profile that inflates": inflating_profile,
    "rows beyond the png": lambda: forge.png(64, 64, data=bytes(2**26)),
    "tiff that inflates": lambda: forge.tiff(10500, 10500, zlib.compress(bytes(10500**2)), tags={259: 8}),
    "tiff of one endless tag": lambda: forge.tiff(64, 64, bytes(4096), tags={273: [8] * 2_000_000}),
    "dicom of gigapixels": lambda: forge.dicom(65535, 65535, bytes(4096)),
    "dicom that inflates": lambda: forge.dicom(64, 64, zlib.compress(bytes(2**26)), syntax="1.2.840.10008.1.2.1.99"),
    "dicom of endless elements": elements_without_end,
    "progressive jpeg of 96 megapixels": lambda: forge.jpeg(9800, 9800, process=0xC2),
    "baseline jpeg of 48 megapixels": jpeg_of_many_pixels,
}
def status(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) // 1024

def measure(case):
    value = MAKE[case]()
    open("/proc/self/clear_refs", "w").write("5")  # forget the peak of making it
    before = status("VmRSS")
    try:
        told = decode(value, preprocessing=Preprocessing(), height=224, width=224, limits=Limits()).shape
    except Rejected as rejection:
        told = rejection.reason
    print(json.dumps([case, str(told), status("VmHWM") - before]), flush=True)

decode(saved(64, 64, "JPEG"), preprocessing=Preprocessing(), height=224, width=224, limits=Limits())
for case in MAKE:
    if child := os.fork():  # each in a process of its own: what one freed must not serve the next
        assert os.waitpid(child, 0)[1] == 0, case
    else:
        measure(case)
        os._exit(0)
"""

CASES = {
    "png that claims gigapixels": ("too-long-side", 8),
    "png that inflates to 300 MB": ("too-much-memory", 8),
    "png text that inflates": ("(224, 224, 3)", 24),
    "png profile that inflates": ("(224, 224, 3)", 24),
    "rows beyond the png": ("(224, 224, 3)", 24),
    "tiff that inflates": ("too-much-memory", 8),
    "tiff of one endless tag": ("damaged", 8),
    "dicom of gigapixels": ("too-long-side", 8),
    "dicom that inflates": ("unsupported-dicom", 8),
    "dicom of endless elements": ("damaged", 8),
    "progressive jpeg of 96 megapixels": ("too-much-memory", 8),
    "baseline jpeg of 48 megapixels": ("(224, 224, 3)", 64),
}


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[str, int]]:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=200)
    assert run.returncode == 0, run.stderr
    return {case: (told, grew) for case, told, grew in map(json.loads, run.stdout.splitlines())}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("case", CASES)
def test_memory_stays_bounded(case, measured):
    told, grew = measured[case]
    expected, most_mib = CASES[case]
    assert told == expected
    assert grew <= most_mib
