# written by scripts/write_stubs.py from the table in __init__.py
from cotasp.sweep.launchers import Launcher as Launcher
from cotasp.sweep.launchers import Local as Local
from cotasp.sweep.launchers import Ray as Ray
from cotasp.sweep.launchers import Slurm as Slurm
from cotasp.sweep.launchers import Stacked as Stacked
from cotasp.sweep.plan import Plan as Plan
from cotasp.sweep.plan import load_sweep as load_sweep
from cotasp.sweep.running import run_sweep as run_sweep
from cotasp.sweep.trial import Job as Job
