"""Sparse coding: the lasso, its solvers and certificate, dictionaries and their update rules."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "sparse_encode": "encode",
        "SparseCode": "encode",
        "SparseEncode": "module",
        "certificate": "_certificate",
        "Solver": "solvers",
        "Lars": "solvers",
        "Fista": "solvers",
        "CoordinateDescent": "solvers",
        "Threshold": "solvers",
        "OMP": "solvers",
        "SklearnLars": "solvers",
        "SklearnCD": "solvers",
        "Celer": "solvers",
        "Dictionary": "dictionary",
        "UpdateRule": "updates",
        "Online": "updates",
        "Anchored": "updates",
        "Frozen": "updates",
        "Lazy": "updates",
    },
)
