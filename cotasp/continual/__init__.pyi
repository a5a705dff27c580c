# written by scripts/write_stubs.py from the table in __init__.py
from cotasp.continual.evaluation import Evaluator as Evaluator
from cotasp.continual.loop import resume as resume
from cotasp.continual.loop import run as run
from cotasp.continual.opened import open_run as open_run
from cotasp.continual.saved import load_run as load_run
