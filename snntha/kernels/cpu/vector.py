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
OCTET = 8  # bits that are turned into positions at once


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
    return _built(result(value), lambda builder, scalar: _broadcast(builder, scalar, result.ir_type))


@intrinsic
def counting(_typing):
    """0, 1, ..., LANES - 1 as uint32."""
    result = Vector(types.uint32, LANES)
    return _built(result(), lambda builder: ir.Constant(result.ir_type, list(range(LANES))))


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
def load_octet(_typing, values, first):
    """values.flat[first : first + OCTET]."""
    return _load(values, first, OCTET)


@intrinsic
def raised(_typing, vector, number):
    """`number`, in the vector's dtype, added to each of its integers."""

    def generate(context, builder, signature, args):
        amount = context.cast(builder, args[1], number, vector.dtype)
        return builder.add(args[0], _broadcast(builder, amount, vector.ir_type))

    return vector(vector, number), generate


@intrinsic
def zero_tile(_typing, values):
    """TILE zeros of the dtype of `values`."""
    result = Vector(values.dtype, TILE)
    return _built(result(values), lambda builder, _: ir.Constant(result.ir_type, None))


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
    return _built(Vector(types.float32, vector.lanes)(vector), _conversion(vector, types.float32))


@intrinsic
def to_dtype(_typing, vector, values):
    """Each number in the dtype of the array `values`, which is at least as wide."""
    convert = _conversion(vector, values.dtype)
    return _built(
        Vector(values.dtype, vector.lanes)(vector, values), lambda builder, numbers, _: convert(builder, numbers)
    )


@intrinsic
def multiply_add(_typing, scalar, vector, total):
    """scalar * vector + total in float32, rounded once where the processor can: for gradients only."""

    def build(builder, factor, values, addend):
        return _call(builder, "fmuladd", vector, [_broadcast(builder, factor, vector.ir_type), values, addend])

    return _built(total(types.float32, vector, total), build)


@intrinsic
def absolute(_typing, vector):
    """|x| of each float."""
    return _built(vector(vector), lambda builder, values: _call(builder, "fabs", vector, [values]))


@intrinsic
def select(_typing, mask, chosen, other):
    """`chosen` where the mask is set, `other` elsewhere."""
    return _built(chosen(mask, chosen, other), ir.IRBuilder.select)


@intrinsic
def count_where(_typing, mask, counts):
    """counts + 1 where the mask is set; int32."""

    def build(builder, fires, before):
        return builder.sub(before, builder.sext(fires, counts.ir_type))

    return _built(counts(mask, counts), build)


@intrinsic
def to_bits(_typing, mask):
    """The mask as a uint16, lane 0 lowest."""
    return _built(types.uint16(mask), lambda builder, lanes: builder.bitcast(lanes, ir.IntType(mask.lanes)))


@intrinsic
def from_bits(_typing, word):
    """The mask whose lane 0 is the lowest bit of a uint16."""
    mask = Vector(types.boolean, LANES)
    return _built(mask(types.uint16), lambda builder, bits: builder.bitcast(bits, mask.ir_type))


@intrinsic
def count_ones(_typing, word):
    """How many bits of a uint64 are set."""
    return _built(types.int64(types.uint64), ir.IRBuilder.ctpop)


@intrinsic
def lowest_one(_typing, word):
    """Position of the lowest set bit of a uint64 that is not 0."""
    return _built(types.int64(types.uint64), lambda builder, bits: builder.cttz(bits, ir.Constant(ir.IntType(1), 1)))


def _built(signature: Any, build: Callable) -> tuple:
    """What an intrinsic returns: its types, and the LLVM instructions that `build(builder, *arguments)` adds."""
    return signature, lambda _context, builder, _signature, args: build(builder, *args)


def _call(builder, name: str, vector: Vector, args: list):
    """LLVM's own function of float32 vectors."""
    shape = vector.ir_type
    function_type = ir.FunctionType(shape, [shape] * len(args))
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.v{vector.lanes}f32")
    return builder.call(function, args)


def _load(values: Any, first: Any, lanes: int) -> tuple:
    result = Vector(values.dtype, lanes)

    def generate(context, builder, signature, args):
        return builder.load(_address(context, builder, signature, args, result), align=1)

    return result(values, types.intp), generate


def _conversion(vector: Any, dtype: types.Type) -> Callable:
    """The instruction that turns the vector's numbers into those of a dtype that is at least as wide."""

    def build(builder, numbers):
        if vector.dtype == dtype:
            return numbers
        extend = builder.sitofp if dtype == types.float32 else builder.sext
        return extend(numbers, Vector(dtype, vector.lanes).ir_type)

    return build


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
