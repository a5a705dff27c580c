"""Tables, figures and one HTML page from run directories."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Estimate": "statistics",
        "Run": "runs",
        "Study": "study",
        "Table": "tables",
        "make_study": "study",
        "read_runs": "runs",
        "write_report": "writing",
    },
)
