"""The pages of the site that are made from what is in the repository when it is built.

MkDocs calls the functions that begin with ``on_``. Made are: the settings, from the comments in
conf/; the gallery, by running examples/; the reference, one page for each package of swarm/; and
the two pages that lie at the root of the repository.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from swarm.cli.commands.publish import published_talk
from swarm.config.composing import conf_files

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "build" / "gallery"
OPENING = re.compile(r"^```(\w+) (?:file=(\S+)|\w+)$", re.MULTILINE)  # of a block of code


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the packages of swarm/ under Reference."""
    (reference,) = [entry for entry in config.nav if "Reference" in entry]
    reference["Reference"] = [f"reference/{name}.md" for name in packages()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the pictures of the gallery."""
    pages = {"settings.md": settings(), "gallery.md": gallery()}
    pages |= {f"reference/{name}.md": reference(name) for name in packages()}
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        pages[name.lower()] = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
    pages["claims/talk.html"] = published_talk(ROOT / "docs" / "claims")
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for picture in sorted(GALLERY.rglob("*.png")):
        name = f"gallery/{picture.relative_to(GALLERY)}"
        files.append(File.generated(config, name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """What GitHub shows as it is: names of files over code, and links to the root's pages."""
    markdown = OPENING.sub(
        lambda m: f'```{m[1]} title="{m[2]}"' if m[2] else f"```{m[1]}", markdown
    )
    return markdown.replace("](../CHANGELOG.md)", "](changelog.md)")


def on_post_build(config: MkDocsConfig) -> None:
    """Take out of the theme's script what old browsers, and diagrams, would load from elsewhere."""
    scripts = Path(config.site_dir, "assets", "javascripts")
    for script in scripts.glob("bundle.*.js"):
        text = script.read_text(encoding="utf-8")
        script.write_text(text.replace("https://unpkg.com/", ""), encoding="utf-8")
    for source in scripts.glob("*.map"):
        source.unlink()  # for debuggers of the theme; they name more of such hosts


def packages() -> list[str]:
    """The packages of swarm/, from what everybody may use up to the command line."""
    return sorted(place.parent.name for place in (ROOT / "swarm").glob("*/__init__.py"))


def reference(name: str) -> str:
    """The page of one package: its modules, with all that is public in them."""
    modules = sorted((ROOT / "swarm" / name).rglob("*.py"))
    dotted = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in modules]
    entries = [f"::: {module.removesuffix('.__init__')}" for module in dotted]
    return "\n\n".join([f"# swarm.{name}", *entries, ""])


def settings() -> str:
    """The page of all settings: conf/config.yaml, then every group with its options."""
    conf, placed = ROOT / "conf", conf_files.placed()
    text = ["# Settings", INTRODUCTION, "## The top of the config", *shown(conf / "config.yaml")]
    for folder in sorted(place for place in conf.iterdir() if place.is_dir()):
        text.append(f"## {folder.name}")
        if folder.name in placed:
            text += ["Whatever option is chosen:", *shown(placed[folder.name])]
        plus = "+" if folder.name == conf_files.EXPERIMENT else ""  # in no list of defaults
        for file in sorted(folder.glob("*.yaml")):
            text += [f"### {plus}{folder.name}={file.stem}", *shown(file)]
    return "\n\n".join(text) + "\n"


INTRODUCTION = """Every setting of a run, with its default, from the comments of `conf/`. On the
command line a group is chosen by `GROUP=OPTION` (`topology=ring`), and a key of the chosen option
set by `GROUP.KEY=VALUE` (`topology.k=8`)."""


def shown(file: Path) -> list[str]:
    """What a yaml says of itself: its first comment as a sentence, and its keys as they stand."""
    found = conf_files.read(file)
    made_by = [f"Made by [`{found.target}`][{found.target}]."]
    ours = str(found.target).startswith("swarm.")
    keys = [f"```yaml\n{found.body}\n```"] if found.body else []
    return [found.said, *(made_by if ours else []), *keys]


def gallery() -> str:
    """The page of the examples: each script, what it printed, and the pictures that it left."""
    subprocess.run([sys.executable, Path(__file__).with_name("gallery.py"), GALLERY], check=True)
    text = ["# Gallery", "Each of these scripts was run when this page was built."]
    scripts = (ROOT / "examples").glob("*.py")
    for script in sorted(scripts, key=lambda script: (script.stem != "ten_lines", script)):
        code, folder = script.read_text(encoding="utf-8"), GALLERY / script.stem
        title = re.split(r"[:.,]", code.removeprefix('"""'), maxsplit=1)[0]
        text += [
            f"## {title}",
            f'```python title="examples/{script.name}"\n{code}```',
            "It prints:",
        ]
        text.append(f"```text\n{(folder / 'printed.txt').read_text(encoding='utf-8')}```")
        for picture in sorted(folder.rglob("*.png")):
            text.append(f"![{picture.stem}](gallery/{picture.relative_to(GALLERY)})")
    return "\n\n".join(text) + "\n"
