"""Hooks of the site: pages from the repository's root, and links that are right on GitHub and on the site alike."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
ROOT_PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
DIAGRAM = re.compile(r"^```mermaid$", flags=re.MULTILINE)
DIAGRAM_NOTE = "*A diagram in Mermaid's language: GitHub draws it; this site fetches no script that would.*"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's root beside those of docs/."""
    from mkdocs.structure.files import File

    for name in ROOT_PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, **_others: object) -> str:
    """Rewrite relative links for the site, and say of diagrams why they are text."""
    return note_diagrams(site_links(markdown, str(page.file.src_uri)))


def note_diagrams(markdown: str) -> str:
    """A note above each diagram: the theme would draw it with a script from another host, and nothing is fetched."""
    return DIAGRAM.sub(lambda fence: f"{DIAGRAM_NOTE}\n\n{fence[0]}", markdown)


def site_links(markdown: str, page: str) -> str:
    """Links of one page as the site needs them; a link to source code, which no site holds, becomes its text."""
    source = page if page in ROOT_PAGES else f"docs/{page}"

    def rewritten(found: re.Match[str]) -> str:
        mark, text, target, fragment = found[1], found[2], found[3], found[4] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in ROOT_PAGES:
            place = path
        elif path == "README.md":
            place = "index.md"
        elif path.startswith("docs/") and (ROOT / path).is_file() and not path.endswith(".py"):
            place = path.removeprefix("docs/")
        elif (ROOT / path).exists():
            return text
        else:
            return found[0]
        return f"{mark}[{text}]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{fragment})"

    return LINK.sub(rewritten, markdown)
