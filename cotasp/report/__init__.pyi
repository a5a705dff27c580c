# written by scripts/write_stubs.py from the table in __init__.py
from cotasp.report.runs import Run as Run
from cotasp.report.runs import read_runs as read_runs
from cotasp.report.statistics import Estimate as Estimate
from cotasp.report.study import Study as Study
from cotasp.report.study import make_study as make_study
from cotasp.report.tables import Table as Table
from cotasp.report.writing import write_report as write_report
