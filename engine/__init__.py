"""The engine's front door: every name that the service and the benchmarks use. They import from nowhere below it.

A `Program` and a request record (`GradientRequest`, `HessianRequest`, …) are compiled by `compile_request`; the
`Compiled` request runs on arrays as often as wanted. `explain` says what a run would cost, `compile_check` compares
gradients with differences.
"""

from engine.check.compile import compile_check
from engine.check.run import METHODS, Check, CheckRequest
from engine.compile.compile import compile as compile_request
from engine.compile.compiled import Compiled
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.hessian import HessianRequest
from engine.compile.derivatives.hvp import ProductRequest
from engine.compile.derivatives.jacobian import JacobianRequest
from engine.compile.derivatives.jvp import TangentRequest
from engine.compile.derivatives.vjp import VjpRequest
from engine.compile.estimate import estimate
from engine.compile.explain import explain
from engine.compile.request import Request
from engine.errors import DeadlineExceeded, Fault, GraphError, Path, ValueFault
from engine.graph.cores import available_cores
from engine.graph.limits import Limits
from engine.graph.threads import computing
from engine.graph.types import DTYPES, Category, DType, Shape, bool_, float64, numel
from engine.hints.names import of_dtype as dtype_hint
from engine.hints.names import of_op as op_hint
from engine.hints.suggestions import Suggestions, did_you_mean
from engine.inspect import catalogue
from engine.inspect.not_finite import not_finite
from engine.program.program import Argument, Leaf, OpCall, Program, Ref
from engine.program.references import output_names, references
from engine.program.trace import trace

__all__ = [
    "DTYPES",
    "METHODS",
    "Argument",
    "Category",
    "Check",
    "CheckRequest",
    "Compiled",
    "DType",
    "DeadlineExceeded",
    "Fault",
    "ForwardRequest",
    "GradientRequest",
    "GraphError",
    "HessianRequest",
    "JacobianRequest",
    "Leaf",
    "Limits",
    "OpCall",
    "Path",
    "ProductRequest",
    "Program",
    "Ref",
    "Request",
    "Shape",
    "Suggestions",
    "TangentRequest",
    "ValueFault",
    "VjpRequest",
    "available_cores",
    "bool_",
    "catalogue",
    "compile_check",
    "compile_request",
    "computing",
    "did_you_mean",
    "dtype_hint",
    "estimate",
    "explain",
    "float64",
    "not_finite",
    "numel",
    "op_hint",
    "output_names",
    "references",
    "trace",
]
