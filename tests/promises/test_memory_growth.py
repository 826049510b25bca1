"""Thousands of requests leave no memory behind, wherever they are computed."""

import os
import subprocess
import sys

import pytest

from tests.serving import CHECKOUT

GROWTH_BYTES = 24 * 2**20

MEASURE = """
import resource, sys
import orjson
from app.evaluation.evaluator import Call, Evaluator
from app.settings import Settings
from tests.app.bodies import sum_of_exp

evaluator = Evaluator(Settings(cached_plans=50))

def answer(index):
    # every tenth request is new, so that plans come and go
    names = [f"x{index}"] if index % 10 == 0 else ["x"]
    body = orjson.dumps(sum_of_exp(seed=index)).replace(b'"x"', b'"%s"' % names[0].encode())
    evaluator.answer(Call("gradients", body))

peaks = []
for index in range(6000):
    answer(index)
    if index in {999, 5999}:
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.timeout(300)
def test_five_thousand_requests() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < GROWTH_BYTES
