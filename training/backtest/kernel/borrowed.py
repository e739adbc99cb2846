"""Arrays without an owner.

Each time compiled code takes an array out of a tuple it counts one more holder of its memory and one less when done,
with a locked instruction each; an order would spend most of its time on that. Inside the kernel arrays are therefore
borrowed: they point at memory that the Python caller holds for as long as the call lasts.
"""

from collections.abc import Callable
from typing import Any, cast

from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic
from numba.np.arrayobj import make_array

from training.backtest.kernel.compilation import Array


def _borrowed(context: Any, array: Any) -> Any:
    """Return the same array without an owner: nobody counts its holders any more.

    Only for an array that is an argument of the function called from Python: a local one would be freed after its last
    use by name.
    """
    del context
    if not isinstance(array, types.Array):
        return None

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = make_array(signature.args[0])(context, builder, value=arguments[0])
        value.meminfo = cgutils.get_null_value(value.meminfo.type)
        value.parent = cgutils.get_null_value(value.parent.type)
        return value._getvalue()

    return array(array), code


borrowed = cast(Callable[[Array], Array], intrinsic(_borrowed))
