"""Arrays without an owner.

Each time compiled code hands an array to a function or takes one out of a tuple it counts one more holder of its
memory, and one less when done; an order would spend most of its time on that. Inside the kernel arrays are therefore
borrowed: of a type whose memory nobody counts, pointing at what the Python caller holds for as long as the call lasts.
"""

from collections.abc import Callable
from typing import Any, cast

from numba import types
from numba.core.cgutils import get_null_value
from numba.core.datamodel import models, register_default
from numba.core.extending import intrinsic
from numba.np.arrayobj import make_array

from trading.strategy.rules.compilation import Floats
from training.backtest.kernel.compilation import Array


class Unowned(types.Array):
    """The type of a borrowed array."""

    def __init__(self, dtype: Any, ndim: int, layout: Any) -> None:
        super().__init__(dtype, ndim, layout, name=f"unowned({dtype}, {ndim}d, {layout})")


@register_default(Unowned)
class UnownedModel(models.StructModel):
    """The fields of numba's arrays, with plain pointers where those name an owner."""

    def __init__(self, manager: Any, kind: Any) -> None:
        sizes = types.UniTuple(types.intp, kind.ndim)
        members = [
            ("meminfo", types.voidptr),
            ("parent", types.voidptr),
            ("nitems", types.intp),
            ("itemsize", types.intp),
            ("data", types.CPointer(kind.dtype)),
            ("shape", sizes),
            ("strides", sizes),
        ]
        super().__init__(manager, kind, members)


def _borrowed(context: Any, array: Any) -> Any:
    """Return the same array without an owner.

    Only for an array that is an argument of the function called from Python: a local one would be freed after its last
    use by name. Numbers are read and written as ever; a view of it must not be taken.
    """
    del context
    if not isinstance(array, types.Array):
        return None

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = make_array(signature.args[0])(context, builder, value=arguments[0])
        target = make_array(signature.return_type)(context, builder)
        for field in ("nitems", "itemsize", "data", "shape", "strides"):
            setattr(target, field, getattr(source, field))
        target.meminfo = get_null_value(target.meminfo.type)
        target.parent = get_null_value(target.parent.type)
        return target._getvalue()

    return Unowned(array.dtype, array.ndim, array.layout)(array), code


borrowed = cast(Callable[[Array], Array], intrinsic(_borrowed))


def _pointer_to(context: Any, array: Any) -> Any:
    """Return a bare pointer to the first number of a contiguous array: no bounds, no shape, nothing to count."""
    del context
    if not isinstance(array, types.Array):
        return None

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return make_array(signature.args[0])(context, builder, value=arguments[0]).data

    return types.CPointer(array.dtype)(array), code


pointer_to = cast(Callable[[Array], Floats], intrinsic(_pointer_to))
