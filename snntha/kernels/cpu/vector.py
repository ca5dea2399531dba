"""Short vectors as values inside numba functions, with the operators that the neuron kernels need.

A numba function that is written with them says exactly which instructions run: no auto-vectorizer has to prove that
arrays do not overlap, and nothing is contracted into a fused multiply-add except `multiply_add`, so that float32
results are those of the same operations in PyTorch. LLVM splits a vector where the processor's registers are shorter.

Arrays must be C-contiguous and long enough: no bounds are checked.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 16  # neurons of a strip, which the neuron kernels handle at once: two AVX2 registers of float32
PAIR = 2 * LANES  # neurons whose gradients are added at once: the rows of few steps, all in the fastest caches
TILE = 64  # neurons whose int8 weights are added at once; their spikes at one time step are one 64-bit word


class Vector(types.Type):
    """The numba type of `lanes` numbers of one dtype; a mask where the dtype is boolean."""

    def __init__(self, dtype: types.Type, lanes: int):
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"vector({dtype} x {lanes})")

    @property
    def ir_type(self) -> ir.VectorType:
        if isinstance(self.dtype, types.Float):
            assert self.dtype == types.float32
            return ir.VectorType(ir.FloatType(), self.lanes)
        bits = 1 if self.dtype == types.boolean else self.dtype.bitwidth
        return ir.VectorType(ir.IntType(bits), self.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, fe_type.ir_type)


def _define_operator(function: Callable, on_floats: Callable | None, on_integers: Callable | None) -> None:
    """Teach numba `function(vector, vector)`; comparisons give masks."""
    compares = function in (operator.ge, operator.gt)

    @type_callable(function)
    def typing(_context):
        def typer(left, right):
            if isinstance(left, Vector) and left == right:
                return Vector(types.boolean, left.lanes) if compares else left

        return typer

    @lower_builtin(function, Vector, Vector)
    def lower(_context, builder, signature, args):
        build = on_floats if isinstance(signature.args[0].dtype, types.Float) else on_integers
        assert build is not None, f"{function.__name__} of {signature.args[0]}"
        return build(builder, *args)


_define_operator(operator.add, ir.IRBuilder.fadd, ir.IRBuilder.add)
_define_operator(operator.sub, ir.IRBuilder.fsub, ir.IRBuilder.sub)
_define_operator(operator.mul, ir.IRBuilder.fmul, ir.IRBuilder.mul)
_define_operator(operator.truediv, ir.IRBuilder.fdiv, None)
_define_operator(operator.xor, None, ir.IRBuilder.xor)
_define_operator(operator.rshift, None, ir.IRBuilder.lshr)  # only unsigned numbers are shifted here
_define_operator(
    operator.ge,
    lambda builder, left, right: builder.fcmp_ordered(">=", left, right),
    lambda builder, left, right: builder.icmp_unsigned(">=", left, right),
)


@intrinsic
def fill(_typing, value):
    """LANES copies of a number."""
    result = Vector(value, LANES)

    def generate(_context, builder, _signature, args):
        return _broadcast(builder, args[0], result.ir_type)

    return result(value), generate


@intrinsic
def counting(_typing):
    """0, 1, ..., LANES - 1 as uint32."""
    result = Vector(types.uint32, LANES)

    def generate(_context, _builder, _signature, _args):
        return ir.Constant(result.ir_type, list(range(LANES)))

    return result(), generate


@intrinsic
def at(_typing, values, position):
    """values.flat[position] of an integer array as intp; spares the test for negative positions, too."""

    def generate(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        number = builder.load(builder.gep(array.data, [args[1]]))
        return context.cast(builder, number, values.dtype, types.intp)

    return types.intp(values, types.intp), generate


@intrinsic
def load(_typing, values, first):
    """values.flat[first : first + LANES]."""
    return _load(values, first, LANES)


@intrinsic
def load_pair(_typing, values, first):
    """values.flat[first : first + PAIR]."""
    return _load(values, first, PAIR)


@intrinsic
def load_row(_typing, values, row):
    """values[row, :LANES]; rows may be further apart than they are long."""
    result = Vector(values.dtype, LANES)

    def generate(context, builder, signature, args):
        return builder.load(_row_address(context, builder, signature, args, result), align=1)

    return result(values, types.intp), generate


@intrinsic
def store_row(_typing, values, row, vector):
    """values[row, :LANES] = vector; rows may be further apart than they are long."""

    def generate(context, builder, signature, args):
        builder.store(args[2], _row_address(context, builder, signature, args, vector), align=1)
        return context.get_dummy_value()

    return types.void(values, types.intp, vector), generate


@intrinsic
def load_tile(_typing, values, first):
    """values.flat[first : first + TILE]."""
    return _load(values, first, TILE)


@intrinsic
def zero_tile(_typing, values):
    """TILE zeros of the dtype of `values`."""
    result = Vector(values.dtype, TILE)

    def generate(_context, _builder, _signature, _args):
        return ir.Constant(result.ir_type, None)

    return result(values), generate


@intrinsic
def store(_typing, values, first, vector):
    """values.flat[first : first + lanes] = vector."""

    def generate(context, builder, signature, args):
        builder.store(args[2], _address(context, builder, signature, args, vector), align=1)
        return context.get_dummy_value()

    return types.void(values, types.intp, vector), generate


@intrinsic
def to_float(_typing, vector):
    """Each number as float32."""
    return _convert(vector, types.float32)


@intrinsic
def to_dtype(_typing, vector, values):
    """Each number in the dtype of the array `values`, which is at least as wide."""
    result, generate = _convert(vector, values.dtype)
    return result.return_type(vector, values), generate


@intrinsic
def multiply_add(_typing, scalar, vector, total):
    """scalar * vector + total in float32, rounded once where the processor can: for gradients only."""

    def generate(_context, builder, _signature, args):
        shape = vector.ir_type
        name = f"llvm.fmuladd.v{vector.lanes}f32"
        fused = cgutils.get_or_insert_function(builder.module, ir.FunctionType(shape, [shape] * 3), name)
        return builder.call(fused, [_broadcast(builder, args[0], shape), args[1], args[2]])

    return total(types.float32, vector, total), generate


@intrinsic
def absolute(_typing, vector):
    """|x| of each float."""

    def generate(_context, builder, _signature, args):
        shape = vector.ir_type
        name = f"llvm.fabs.v{vector.lanes}f32"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(shape, [shape]), name)
        return builder.call(function, args)

    return vector(vector), generate


@intrinsic
def select(_typing, mask, chosen, other):
    """`chosen` where the mask is set, `other` elsewhere."""

    def generate(_context, builder, _signature, args):
        return builder.select(*args)

    return chosen(mask, chosen, other), generate


@intrinsic
def count_where(_typing, mask, counts):
    """counts + 1 where the mask is set; int32."""

    def generate(_context, builder, _signature, args):
        return builder.sub(args[1], builder.sext(args[0], counts.ir_type))

    return counts(mask, counts), generate


@intrinsic
def to_bits(_typing, mask):
    """The mask as a uint16, lane 0 lowest."""

    def generate(_context, builder, _signature, args):
        return builder.bitcast(args[0], ir.IntType(mask.lanes))

    return types.uint16(mask), generate


@intrinsic
def from_bits(_typing, word):
    """The mask whose lane 0 is the lowest bit of a uint16."""
    mask = Vector(types.boolean, LANES)

    def generate(_context, builder, _signature, args):
        return builder.bitcast(args[0], mask.ir_type)

    return mask(types.uint16), generate


@intrinsic
def count_ones(_typing, word):
    """How many bits of a uint64 are set."""

    def generate(_context, builder, _signature, args):
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


@intrinsic
def lowest_one(_typing, word):
    """Position of the lowest set bit of a uint64 that is not 0."""

    def generate(_context, builder, _signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


def _load(values: Any, first: Any, lanes: int) -> tuple:
    result = Vector(values.dtype, lanes)

    def generate(context, builder, signature, args):
        return builder.load(_address(context, builder, signature, args, result), align=1)

    return result(values, types.intp), generate


def _convert(vector: Any, dtype: types.Type) -> tuple:
    result = Vector(dtype, vector.lanes)

    def generate(_context, builder, _signature, args):
        if vector.dtype == dtype:
            return args[0]
        extend = builder.sitofp if dtype == types.float32 else builder.sext
        return extend(args[0], result.ir_type)

    return result(vector), generate


def _address(context, builder, signature, args, vector: Vector):
    """Pointer to the vector that starts at element args[1] of the array args[0]."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), vector.ir_type.as_pointer())


def _row_address(context, builder, signature, args, vector: Vector):
    """Pointer to the row args[1] of the two-dimensional array args[0]."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    stride = builder.extract_value(array.strides, 0)
    return cgutils.pointer_add(builder, array.data, builder.mul(args[1], stride), vector.ir_type.as_pointer())


def _broadcast(builder, scalar, shape: ir.VectorType):
    undefined = ir.Constant(shape, ir.Undefined)
    lane = builder.insert_element(undefined, scalar, ir.IntType(32)(0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), shape.count), [0] * shape.count)
    return builder.shuffle_vector(lane, undefined, everywhere)
