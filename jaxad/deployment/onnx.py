"""Conversion of a detector's program to ONNX, by jax2onnx."""

import contextlib
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core as jex
import numpy as np
from jax.core import Tracer

from jaxad.typing import Array

_OPSET = 21  # supported by onnxruntime since 1.20
_INLINED = {"jit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}
_INLINED |= {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
_INLINED |= {"remat2": "jaxpr", "checkpoint": "jaxpr"}


def onnx_bytes(
    program: Callable[[Array], dict[str, Array]], shape: tuple[int, ...], metadata: dict[str, Any]
) -> bytes:
    """An ONNX model of a program, for batches ``X`` ``[batch, *shape]`` of any size.

    Args:
      program: a function of one row, from `jaxad.deployment.program.row_program`.
      shape: the shape of a row.
      metadata: JSON for the model's ``metadata_props``, under the key ``jaxad``.

    Raises:
      ImportError: jax2onnx is not installed.
      ValueError: ONNX or jax2onnx lacks an operation of the network.
    """
    jax2onnx = _jax2onnx()
    closed = _plain(program, jax.ShapeDtypeStruct(shape, np.float32))
    names = sorted(jax.eval_shape(program, jax.ShapeDtypeStruct(shape, np.float32)))
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of shapes that the model need not state
    try:
        model: Any = jax2onnx.to_onnx(
            jax.vmap(jex.jaxpr_as_fun(closed)),
            inputs=[("batch", *shape)],
            model_name="jaxad",
            opset=_OPSET,
            input_names=["X"],
            output_names=names,
        )
    except Exception as error:
        raise ValueError(_advice(error)) from error
    finally:
        logger.setLevel(level)
    entry = model.metadata_props.add()
    entry.key, entry.value = "jaxad", json.dumps(metadata)
    return model.SerializeToString()


def _jax2onnx() -> Any:
    try:
        import jax2onnx
    except ImportError as error:
        raise ImportError(
            "format='onnx' needs jax2onnx, which is not installed: pip install 'jaxad[onnx]'"
        ) from error
    return jax2onnx


def _advice(error: Exception) -> str:
    found = re.search(r"primitive '([^']+)'", str(error))
    operation = f"its operation {found[1]!r}" if found else f"one of its operations ({error})"
    return (
        f"the network cannot be converted to ONNX: jax2onnx cannot convert {operation}. Export it "
        "by format='stablehlo', or use another network"
    )


def _plain(program: Callable, row: Any) -> jex.ClosedJaxpr:
    """The program without calls, and without branches for other platforms.

    jax2onnx replaces functions such as ``jax.nn.softmax`` while it traces, and some replacements
    fail under ``jax.vmap``. It therefore gets a program that is traced already.
    """
    closed = jax.make_jaxpr(program)(row)
    return jax.make_jaxpr(lambda row: _evaluated(closed.jaxpr, closed.consts, [row]))(row)


def _evaluated(jaxpr: Any, consts: list[Any], arguments: list[Any]) -> list[Any]:
    """The results of a jaxpr, operation by operation."""
    values: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else values[atom]

    values.update(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))
    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        outputs = _results(equation, inputs)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _results(equation: Any, inputs: list[Any]) -> list[Any]:
    """The results of one operation: of a call, those of what it calls; of constants, constants."""
    name, params = equation.primitive.name, equation.params
    if name == "platform_index":
        return [np.int32(params["platforms"].index(None))]
    if name == "cond" and not isinstance(inputs[0], Tracer):
        index = int(np.clip(inputs[0], 0, len(params["branches"]) - 1))
        branch = params["branches"][index]
        return _evaluated(branch.jaxpr, branch.consts, inputs[1:])
    if name in _INLINED:
        inner = params[_INLINED[name]]
        if hasattr(inner, "consts"):
            return _evaluated(inner.jaxpr, inner.consts, inputs)
        return _evaluated(inner, [], inputs)
    known = not any(isinstance(value, Tracer) for value in inputs)
    given = equation.primitive.get_bind_params(params)
    with jax.ensure_compile_time_eval() if known else contextlib.nullcontext():
        found = equation.primitive.bind(*inputs, **given)
    return list(found) if equation.primitive.multiple_results else [found]
