"""Links to the repository, all from the one address in `setup.py`.

As a hook of mkdocs it links the site and its list of notebooks. Run as a script
it writes the badges of the notebooks. Where the address is empty, there is no
link.
"""

import ast
import json
import pathlib
import re
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent
_BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-"
_COLAB = "https://colab.research.google.com/github/"


def address() -> str:
    """Returns what `REPOSITORY` is in `setup.py`."""
    source = (ROOT / "setup.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            if isinstance(target, ast.Name) and target.id == "REPOSITORY":
                return ast.literal_eval(node.value).rstrip("/")
    raise ValueError("setup.py does not assign REPOSITORY.")


def colab(repository: str, name: str) -> str:
    """Returns the address at which Colab opens a notebook."""
    path = repository.removeprefix("https://github.com/")
    return f"{_COLAB}{path}/blob/main/notebooks/{name}.ipynb"


def with_badge(lines: list[str], repository: str, name: str) -> list[str]:
    """Returns the first cell of a notebook with the badge it should have."""
    heading, *rest = [li for li in lines if not li.startswith(_BADGE)]
    while rest and not rest[0].strip():
        rest = rest[1:]
    badge = f"{_BADGE}badge.svg)]({colab(repository, name)})\n"
    return [heading, "\n", *([badge, "\n"] if repository else []), *rest]


def on_config(config: Any) -> Any:
    """Gives the site its link to the repository, as a hook of mkdocs."""
    if address():
        config["repo_url"] = address()
        config["repo_name"] = config["site_name"]
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links the notebooks of the list, as a hook of mkdocs."""
    if address() and page.file.src_uri == "notebooks.md":
        return re.sub(
            r"^\| (\w+) \|",
            lambda m: f"| [{m[1]}]({colab(address(), m[1])}) |",
            markdown,
            flags=re.MULTILINE,
        )
    return markdown


def main() -> None:
    """Writes the badges of all notebooks."""
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        text = path.read_text(encoding="utf-8")
        notebook = json.loads(text)
        cell = notebook["cells"][0]
        cell["source"] = with_badge(cell["source"], address(), path.stem)
        written = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        if written != text:
            path.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
