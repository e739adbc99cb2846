"""HTML reports of this room: one environment of templates, and one style."""

from typing import TYPE_CHECKING

from core.clock import to_datetime

if TYPE_CHECKING:
    import jinja2


def page_environment(package: str) -> "jinja2.Environment":
    """Return the environment for the templates in a package's folder, with ``style.css`` to include.

    Every value is escaped, and one that is missing is an error. Filters: ``day`` of UTC nanoseconds, ``count``.
    """
    import jinja2

    loaders = [jinja2.PackageLoader(package, "."), jinja2.PackageLoader("training.pages", ".")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["day"] = _day
    environment.filters["count"] = lambda number: f"{number:,}".replace(",", "\u202f")
    return environment


def _day(time_ns: int) -> str:
    return f"{to_datetime(time_ns):%Y-%m-%d}"
