"""What axe-core finds on a page in a browser.

axe-core is a library of JavaScript: `npm install --prefix FOLDER axe-core`, and PLATFORM_TEST_AXE names its file
`FOLDER/node_modules/axe-core/axe.min.js`.
"""

import os
from pathlib import Path
from typing import Any, Final

AXE: Final = os.environ.get("PLATFORM_TEST_AXE", "")
NO_AXE: Final = "PLATFORM_TEST_AXE names no axe.min.js (npm install axe-core)"
RUN: Final = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations
    .filter((each) => each.impact === "serious" || each.impact === "critical")
    .map((each) => `${each.id}: ${each.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ")}`);
}"""


def serious_violations(page: Any) -> list[str]:  # noqa: ANN401 - Playwright, which has the types, is not installed everywhere
    """What axe calls serious or critical, with the first elements."""
    page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(RUN)
    return found
