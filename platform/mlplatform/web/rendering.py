"""Renders pages from Jinja2 templates in one layout, and names the headers that each is sent with."""

from datetime import UTC, datetime
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mlplatform.web.assets import load_assets

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
PAGE_HEADERS: Final = {"content-security-policy": CONTENT_SECURITY_POLICY}
NAVIGATION: Final = (
    ("Overview", ""),
    ("Alerts", "alerts"),
    ("Review", "review"),
    ("Versions", "versions"),
    ("Retrainings", "retrainings"),
    ("Rules", "rules"),
    ("Audit", "audit"),
    ("API", "docs"),
    ("Account", "account"),
)
"""The pages of every page's head, with their addresses below the root."""


def relative_root(path: str) -> str:
    """The way from a page back to the root, relative: a proxy may show the server below a prefix of its own."""
    return "../" * (path.count("/") - 1) or "./"


def time_element(moment: datetime, *, age: bool = False) -> Markup:
    """A moment to the minute; with `age`, the script says how long ago that is."""
    utc = moment.astimezone(UTC)
    return Markup('<time datetime="{}"{}>{:%Y-%m-%d %H:%M} UTC</time>').format(
        utc.isoformat(timespec="seconds"), Markup(' class="age"') if age else "", utc
    )


def _create_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mlplatform.web"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"time": time_element}
    return environment


_TEMPLATES: Final = _create_environment()


def render_page(
    template: str,
    *,
    path: str,
    title: str,
    section: str = "",
    script: str = "",
    refresh_seconds: int = 0,
    **values: object,
) -> str:
    """The HTML of a page at `path`, of one section of the navigation, refreshed so often, with a script of its own."""
    return _TEMPLATES.get_template(template).render(
        title=title,
        root=relative_root(path),
        section=section,
        script=script,
        refresh_seconds=refresh_seconds,
        navigation=NAVIGATION,
        assets={name: asset.name for name, asset in load_assets().items()},
        **values,
    )


def error_page(path: str, status: int, title: str, detail: str) -> str:
    """What a browser is shown in place of a page that cannot be."""
    return render_page("error.html", path=path, title=title, status=status, detail=detail)
