"""cotasp: continual reinforcement learning with sparse-prompted sub-networks, on TorchRL.

Importing this package imports nothing heavy; the names below import their module on first use.
"""

import os

from cotasp._lazy import lazy_exports
from cotasp._version import __version__ as __version__

os.environ.setdefault("RL_LOGGING_LEVEL", "WARNING")  # torchrl reads it when imported

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "KINDS": "registry",
        "MaskedMLP": "modules",
        "MetaPolicy": "modules",
        "Prompter": "prompting",
        "Recipe": "recipe",
        "dump": "recipe",
        "extract": "modules",
        "load": "recipe",
        "loads": "recipe",
        "open_run": "continual",
        "resume": "continual",
        "run": "continual",
        "sparse_encode": "dictionaries",
    },
)
