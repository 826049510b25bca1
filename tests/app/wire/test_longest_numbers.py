"""Arrays of the longest numbers are written within the encoder's memory. A process that overran it would abort."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WRITE = """
import json, sys
import numpy as np
from app.wire.json.reply import _dumped

longest = {
    "float64": [-1.6666666666666667e-05, 1.6666666666666667e-05, 0, -1.2345678901234567e-300, -1.7976931348623157e308],
    "float32": [-1.1754944e-38, -3.4028235e38, -1.6666667e-05, 0.0],
    "int64": [-(2**63), 2**63 - 1, 0],
    "uint8": [255, 0],
}[sys.argv[1]]
rng = np.random.default_rng(1)
for count in [*range(1, 1300), 2000, 3000, 4096, 5000, 8192]:
    for values in (longest[:1], longest[:2], longest[:3], longest):
        array = rng.choice(np.array(values, sys.argv[1]), count)
        assert json.loads(_dumped(array)) == array.tolist() or array.dtype == np.float32
"""


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8"])
def test_arrays_of_the_longest_numbers_are_written(dtype: str) -> None:
    environment = {**os.environ, "MALLOC_CHECK_": "3"}
    done = subprocess.run([sys.executable, "-c", WRITE, dtype], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
