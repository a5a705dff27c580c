"""Arguments of constructors against their annotations: refused in one sentence, where they stand.

A recipe's values are read by `cotasp.schema`; these are for who calls a constructor from Python.
"""

from __future__ import annotations

import math
import numbers
import types
from typing import Any, Literal, Union, get_args, get_origin

from cotasp.ranges import range_of
from cotasp.schema import Unfit, check_range, check_ranges, fields_of


def fits(annotation: Any, value: Any) -> bool:
    """Whether a value is what an annotation says, as it stands; what else it may say fits all.

    >>> fits(tuple[int, ...], (8, 8)), fits(tuple[int, ...], 8), fits(int, 8.0), fits(float, 8)
    (True, False, False, True)
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return any(type(choice) is type(value) and choice == value for choice in arguments)
    if origin in (Union, types.UnionType):
        return any(fits(option, value) for option in arguments)
    if origin in (tuple, list):
        if not isinstance(value, (tuple, list)):
            return False
        alike = origin is list or Ellipsis in arguments
        items = (arguments[0],) * len(value) if alike else arguments
        return len(items) == len(value) and all(map(fits, items, value))
    if annotation in (str, bool, types.NoneType):
        return isinstance(value, annotation)
    if annotation in (int, float) and isinstance(value, bool):
        return False
    if annotation is int:
        return isinstance(value, numbers.Integral)
    return annotation is not float or (isinstance(value, numbers.Real) and math.isfinite(value))


def check(annotation: Any, value: Any, place: str) -> None:
    """Raises RecipeError unless a value fits an annotation.

    Args:
        annotation: what is expected, as `fits` reads it; of `cotasp.ranges`, too.
        value: an argument.
        place: of the argument, `"Class.argument"`.
    """
    within = range_of(annotation)
    bare = annotation if within is None else annotation.__origin__
    if not fits(bare, value):
        raise Unfit(place, bare, value)
    if within is not None:
        check_range(within, value, place)


def check_fields(component: Any) -> None:
    """Raises RecipeError unless each field of a dataclass fits its annotation, range and all."""
    cls: type = type(component)
    for name, (annotation, _) in fields_of(cls).items():
        check(annotation, getattr(component, name), f"{cls.__name__}.{name}")
    check_ranges(cls, vars(component), cls.__name__)
