"""Writes docs/page-*.png: the page with the starter voice, live. `python tests/picture_page.py`"""

from pathlib import Path
from typing import Any

from browser import ROOT, SPEECH, begin, browser, driving, starter, tell, visiting

WIDE: dict[str, Any] = {"viewport": {"width": 1120, "height": 760}}
SMALL: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
PICTURES: dict[str, dict[str, Any]] = {
    "light": WIDE,
    "dark": {**WIDE, "color_scheme": "dark"},
    "small": {**SMALL, "device_scale_factor": 2},
}
TALK_MS = 9000  # until the spectrograms are full


def main(folder: Path = ROOT / "docs") -> None:
    """Write every picture; shrink them with `pngquant --force --ext .png docs/page-*.png`."""
    with starter() as url, driving() as kind, browser(kind, SPEECH) as chromium:
        for name, options in PICTURES.items():
            with visiting(chromium, url, **options) as page:
                page.check("#profile [value=low]", force=True)
                begin(page)
                page.wait_for_timeout(TALK_MS)
                page.evaluate("scrollTo(0, 0)")
                page.screenshot(path=folder / f"page-{name}.png")
                tell(f"{name}: {page.inner_text('#budget-total')}")


if __name__ == "__main__":
    main()
