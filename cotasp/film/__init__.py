"""Episodes as pictures: captions, sheets, files and a window.  Knows frames, and no environment."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {"Episode": "episode", "captioned": "pictures", "save": "files", "side_by_side": "pictures"},
)
