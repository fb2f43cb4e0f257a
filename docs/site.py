"""What the site has beside the pages of this folder: files of the repository that they link to.

Links are written as they work in the repository; here they become links within the site.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"benchmarks.md": ROOT / "benchmarks" / "README.md", "changelog.md": ROOT / "CHANGELOG.md"}
RESULTS = ROOT / "benchmarks" / "results"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, and everything in benchmarks/results."""
    for name, path in PAGES.items():
        text = path.read_text(encoding="utf-8").replace("](results/", "](../benchmarks/results/")
        files.append(File.generated(config, name, content=text))
    for path in sorted(RESULTS.rglob("*.*")):
        name = f"results/{path.relative_to(RESULTS).as_posix()}"
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links at the repository's files to their places in the site."""
    for old, new in (
        ("../benchmarks/results/", "results/"),
        ("../benchmarks/README.md", "benchmarks.md"),
        ("../CHANGELOG.md", "changelog.md"),
    ):
        markdown = markdown.replace(f"]({old}", f"]({new}")
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    """Show the docstrings' cross-references, such as :class:`rlshare.moe.MoELayer`, as code."""
    return re.sub(r":(?:class|func|meth|attr):(?=<code>)", "", html)
