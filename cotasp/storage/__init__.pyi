# written by scripts/write_stubs.py from the table in __init__.py
from cotasp.storage.checkpoint import Checkpoint as Checkpoint
from cotasp.storage.checkpoints import Checkpoints as Checkpoints
from cotasp.storage.rows import Rows as Rows
from cotasp.storage.rundir import RunDirectory as RunDirectory
