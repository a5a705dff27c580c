# written by scripts/write_stubs.py from the table in __init__.py
from cotasp._version import __version__ as __version__
from cotasp.continual import open_run as open_run
from cotasp.continual import resume as resume
from cotasp.continual import run as run
from cotasp.dictionaries import sparse_encode as sparse_encode
from cotasp.modules import MaskedMLP as MaskedMLP
from cotasp.modules import MetaPolicy as MetaPolicy
from cotasp.modules import extract as extract
from cotasp.prompting import Prompter as Prompter
from cotasp.recipe import Recipe as Recipe
from cotasp.recipe import dump as dump
from cotasp.recipe import load as load
from cotasp.recipe import loads as loads
from cotasp.registry import KINDS as KINDS
