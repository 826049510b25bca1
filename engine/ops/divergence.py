"""How far a distribution is from another."""

from __future__ import annotations

from typing import Literal

from engine.errors import OpError
from engine.graph import Tensor
from engine.op import op
from engine.ops.elementwise import exp, log, where, zeros_like
from engine.ops.loss import reduced
from engine.ops.reduction import sum
from engine.samples import real, sample, unit
