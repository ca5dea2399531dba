"""Vectors of sixteen numbers as values inside numba functions.

LLVM turns a plain loop into vector instructions only where it can prove that arrays do not overlap, and it keeps no
tile of running sums in registers. With these values both happen, in code that still reads like scalar code. LLVM splits
a vector where the processor's registers are shorter. Bounds are not checked: arrays must be C-contiguous and long
enough.

Numba's cache of compiled functions looks at the file of the function only: after a change here, change conv.py too.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 16  # one AVX2 register of int16, two of float32


class Vector(types.Type):
    """The numba type of LANES numbers of one dtype."""

    def __init__(self, dtype: types.Type):
        self.dtype = dtype
        super().__init__(name=f"vector({dtype} x {LANES})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(manager.lookup(fe_type.dtype).get_value_type(), LANES))


def _operation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Numba's intrinsic; callers leave out the typing context."""
    return intrinsic(function)


@_operation
def zero(_typing):
    """A float32 vector of zeros."""

    def generate(context, _builder, signature, _args):
        return ir.Constant(context.get_value_type(signature.return_type), None)

    return Vector(types.float32)(), generate


@_operation
def load(_typing, values, first):
    """values.flat[first : first + LANES]."""

    def generate(context, builder, signature, args):
        return builder.load(_address(context, builder, signature, args), align=1)

    return Vector(values.dtype)(values, types.intp), generate


@_operation
def add_to(_typing, values, first, vector):
    """values.flat[first : first + LANES] += vector; integers are widened to the dtype of `values`."""

    def generate(context, builder, signature, args):
        address = _address(context, builder, signature, args)
        total = builder.load(address, align=1)
        if isinstance(values.dtype, types.Integer):
            total = builder.add(total, builder.sext(args[2], total.type))
        else:
            total = builder.fadd(total, args[2])
        builder.store(total, address, align=1)
        return context.get_dummy_value()

    return types.void(values, types.intp, vector), generate


@_operation
def multiply_add(_typing, scalar, vector, total):
    """scalar * vector + total in float32, rounded once where the processor can."""

    def generate(_context, builder, _, args):
        shape = args[1].type
        undefined = ir.Constant(shape, ir.Undefined)
        lane = builder.insert_element(undefined, args[0], ir.IntType(32)(0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        factor = builder.shuffle_vector(lane, undefined, everywhere)
        signature = ir.FunctionType(shape, [shape] * 3)
        fused = cgutils.get_or_insert_function(builder.module, signature, f"llvm.fmuladd.v{LANES}f32")
        return builder.call(fused, [factor, args[1], args[2]])

    return total(types.float32, vector, total), generate


def _address(context, builder, signature, args):
    """Pointer to the vector that starts at element args[1] of the array args[0]."""
    array_type = signature.args[0]
    array = context.make_array(array_type)(context, builder, args[0])
    shape = ir.VectorType(context.get_data_type(array_type.dtype), LANES)
    return builder.bitcast(builder.gep(array.data, [args[1]]), shape.as_pointer())
