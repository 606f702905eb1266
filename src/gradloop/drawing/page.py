"""A page to read: `report.html`, which needs nothing but itself, and `README.md`, the same in Markdown.

Whatever a record or a config says is foreign text: all of it is escaped, and the page may load and run nothing.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import quote

from gradloop.runs.folder import write_atomically

PAGE, CARD = "report.html", "README.md"
SPREAD = re.compile(r"[-+\d.e]+ (± [\d.e-]+|\[.*\])")  # 0.91 ± 0.02, or -0.02 [-0.04, 0.01]
WHOLE = 32  # letters of a cell that is not broken
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 96rem;
       padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: .3rem 0; }
h2 { font-size: 1.2rem; margin: 1.8rem 0 .4rem; border-bottom: 1px solid #ccc; }
.wide { overflow-x: auto; } table { border-collapse: collapse; } p { max-width: 50rem; }
.whole { white-space: nowrap; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #e5e5e5; overflow-wrap: normal; }
td { font-variant-numeric: tabular-nums; } img { max-width: min(100%, 72rem); height: auto; display: block; }
figure { margin: 1rem 0; overflow-x: auto; } figcaption, .note { color: #555; font-size: .9rem; }
pre { background: #f4f4f4; padding: .6rem .8rem; overflow-x: auto; overflow-wrap: normal; } code { font-size: .9em; }
"""


@dataclass
class Section:
    """A heading and what stands below it. pictures: PNGs in the page's folder, with what each one shows.

    folded: the table is long, and opens by a click.
    """

    title: str
    text: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    pictures: Sequence[tuple[Path, str]] = ()
    code: str = ""
    folded: bool = False


@dataclass
class Page:
    title: str
    lead: str
    sections: list[Section] = field(default_factory=list)
    tags: Sequence[str] = ()  # for the front matter of the card


def write_page(folder: Path, page: Page) -> Path:
    """Write both files into a folder; return the path of the page."""
    for section in page.sections:
        section.pictures = [(path, shows) for path, shows in section.pictures if path.is_file()]
    page.sections = [s for s in page.sections if s.text or s.rows or s.code or s.pictures]
    write_atomically(folder / CARD, as_card(page, folder))
    write_atomically(folder / PAGE, as_html(page))
    return folder / PAGE


def as_html(page: Page) -> str:
    lines = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{escape(page.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        f"<h1>{escape(page.title)}</h1>\n<p>{escape(page.lead)}</p>",
    ]
    for section in page.sections:
        lines.append(f"<h2>{escape(section.title)}</h2>")
        lines += [f"<p>{escape(text)}</p>" for text in section.text]
        if section.rows:
            table = _table(section)
            lines.append(f"<details><summary>show all {len(section.rows)}</summary>{table}</details>"
                         if section.folded else table)  # fmt: skip
        if section.code:
            lines.append(f"<pre><code>{escape(section.code)}</code></pre>")
        for path, shows in section.pictures:
            png = path.read_bytes()
            data = base64.b64encode(png).decode()
            # on a narrow screen it is scrolled: letters stay readable
            least = min(720, int.from_bytes(png[16:20]) // 2)
            shown = f'alt="{escape(shows)}" style="min-width:{least}px"'
            lines.append(f'<figure><img {shown} src="data:image/png;base64,{data}">'
                         f"<figcaption>{escape(shows)}</figcaption></figure>")  # fmt: skip
    return "\n".join([*lines, "</body>\n</html>\n"])


def _table(section: Section) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in section.header)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in section.rows)
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _cell(text: str) -> str:
    """Return a cell in which no line breaks a number with its spread or interval, or a name."""
    whole = SPREAD.fullmatch(text) or len(text) <= WHOLE
    return f'<td><span class="whole">{escape(text)}</span></td>' if whole else f"<td>{escape(text)}</td>"


def as_card(page: Page, folder: Path) -> str:
    """Return Markdown with a model card's front matter, as model hubs read it."""
    tags = [re.sub("[^a-z0-9-]+", "-", tag.lower()) for tag in page.tags]
    lines = ["---", "library_name: gradloop", "tags:", *(f"- {tag}" for tag in tags), "---", ""]
    lines += [f"# {_plain(page.title)}", "", _plain(page.lead), ""]
    for section in page.sections:
        lines += [f"## {_plain(section.title)}", ""]
        lines += [part for text in section.text for part in (_plain(text), "")]
        if section.rows:
            lines += [*markdown_table(section.header, section.rows), ""]
        if section.code:
            fence = "```" + "`" * max((len(run) for run in re.findall("`+", section.code)), default=0)
            lines += [fence, section.code, fence, ""]
        for path, shows in section.pictures:
            lines += [f"![{_plain(shows)}]({quote(path.relative_to(folder).as_posix())})", ""]
    return "\n".join(lines)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    names, *cells = ([_plain(cell) for cell in row] for row in (header, *rows))
    lines = [names, ["---"] * len(header), *cells]
    return ["| " + " | ".join(row) + " |" for row in lines]


def _plain(text: str) -> str:
    """Return text that Markdown takes as it is: no tag, no link, no column."""
    return re.sub(r"([\\`|<>*]|(?<=\])\()", r"\\\1", " ".join(text.split()))
