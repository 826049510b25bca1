"""Decodes the values of all tensors of a request, or collects their faults. `app.evaluation.evaluator` calls it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from app.errors import InvalidRequest
from app.schemas.faults import MAX_FAULTS
from app.schemas.graph import GraphForm
from app.schemas.tensor import TENSOR, TensorForm
from app.wire.decode import Slowly, at_ease, decode
from app.wire.document import Document
from engine import DTYPES, DType, Fault, Path, float64

Array = np.ndarray[Any, Any]
Source = tuple[str, str]
"""The section and the name of a tensor of a request."""


def decode_values(
    document: Document, forms: Mapping[Source, TensorForm], dtype: DType, slowly: Slowly = at_ease
) -> dict[Source, Array]:
    """Return the array of each tensor in `forms` that has values.

    `dtype` is the default dtype of floating numbers. `slowly` is called with the size in bytes of a long list before it
    is decoded number by number. Raises InvalidRequest with the faults of all tensors, and the exceptions of `slowly`.
    """
    arrays: dict[Source, Array] = {}
    faults: list[Fault] = []
    for source, form in forms.items():
        if form.typed:
            continue
        try:
            arrays[source] = _array(document, source, form, dtype, slowly)
        except InvalidRequest as error:
            faults.extend(error.faults)
    if faults:
        raise InvalidRequest(faults[:MAX_FAULTS])
    return arrays


def _array(document: Document, source: Source, form: TensorForm, dtype: DType, slowly: Slowly = at_ease) -> Array:
    section, name = source
    data = document.values[section][name]
    try:
        array = decode(data, form, (), dtype, slowly)
        signless = document.lacks_signs and type(data) in _SIGNLESS and array.dtype.kind == "f"
        if signless and not array.all() and document.signed_values:
            return decode(document.signed_values[section][name], form, (), dtype)
    except InvalidRequest as error:
        path: Path = (*document.sections[section], name, *(() if form.shorthand else ("data",)))
        raise InvalidRequest(replace(fault, path=(*path, *fault.path)) for fault in error.faults) from None
    return array


_SIGNLESS = {list, int}
"""Types of decoded values that lose the sign of `-0`."""


def value_faults(document: Document, registered: GraphForm | None = None) -> Iterator[Fault]:
    """Yield the faults of the values of all tensors with a valid structure, for a request with structural faults.

    `registered` is the registered graph that the request calls; None if the request contains a graph.
    """
    default = _graph_dtype(document.skeleton) if registered is None else registered.dtype
    known = {} if registered is None else registered.tensors
    for section, values in document.values.items():
        for name in values:
            try:
                form = TENSOR.validate_python(
                    document.at((*document.sections[section], name)), context={"unknown_members": True}
                )
                dtype = known[name].dtype if section == "tensors" and name in known else None
                _array(document, (section, name), form, dtype or default)
            except ValidationError:  # reported with the other faults of the structure
                continue
            except InvalidRequest as error:
                yield from error.faults


def _graph_dtype(skeleton: Any) -> DType:
    graph = skeleton.get("graph") if type(skeleton) is dict else None
    named = graph.get("dtype") if type(graph) is dict else None
    return DTYPES.get(named, float64) if type(named) is str else float64
