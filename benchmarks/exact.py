"""How exact the solvers are: the worst KKT residual over many rows, dictionaries and lambdas.

    python benchmarks/exact.py [--quick] [--json FILE]

Dictionaries of 1,024 atoms and 384 features as in the paper: random, with every atom twice, and as
20 real instructions (`instructions.txt`) leave them under each update rule.  Targets are random
with lmbda_max = 1, and the instructions themselves.  `kkt` is the largest violation of the
optimality conditions in units of lmbda among the rows that a solver reports as converged.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import torch
from _machine import machine

from cotasp.dictionaries import Dictionary, sparse_encode
from cotasp.prompting.encoders import SBERT
from cotasp.registry import KINDS

FRACTIONS = (0.5, 0.3, 0.1, 0.03, 0.006)
ROWS = {"lars": 100, "fista": 200, "cd": 20}
MANY, FEW = 1000, 20  # rows for random atoms; with every atom twice, where iterations are many


def updated(rule: str, embeddings: torch.Tensor, lmbda: float = 0.03) -> torch.Tensor:
    """The atoms that a rule leaves after a task for each embedding."""
    dictionary, update = Dictionary(1024, embeddings.shape[1]), KINDS["update"].make(rule)
    generator = torch.Generator().manual_seed(0)
    for embedding in embeddings:
        code = sparse_encode(embedding[None], dictionary.atoms, lmbda=lmbda).code[0]
        code = code * (torch.rand(code.shape, generator=generator) > 0.1)
        update(dictionary, embedding, code, lmbda=lmbda)
    return dictionary.atoms


def targets(atoms: torch.Tensor, embeddings: torch.Tensor, rows: int) -> torch.Tensor:
    """The embeddings and random rows, [rows, m], each scaled to lmbda_max = 1."""
    noise = torch.randn(1000, embeddings.shape[1], generator=torch.Generator().manual_seed(1))
    X = torch.cat([embeddings, noise.double()])[:rows]
    return X / (X @ atoms.mT).abs().amax(dim=1, keepdim=True)


def main() -> None:
    """Prints and optionally writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rows and lambdas, < 1 minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # who does not converge is a column
    facts = machine()
    lines = Path(__file__).with_name("instructions.txt").read_text(encoding="utf-8").splitlines()
    texts = [line.split(" | ")[0] for line in lines if not line.startswith("#")][:20]
    embeddings = SBERT()(texts).double()
    dictionaries = {"random": Dictionary(1024, 384).atoms}
    dictionaries["twice"] = dictionaries["random"][:512].repeat(2, 1)
    for rule in ("online", "anchored") if options.quick else KINDS["update"].names():
        dictionaries[rule] = updated(rule, embeddings)
    print(
        f"{'atoms':10}{'solver':>8}{'lmbda':>8}{'rows':>7}{'kkt':>10}{'converged':>11}{'ms/row':>9}"
    )
    rows = []
    for name, atoms in dictionaries.items():
        for solver, count in ROWS.items():
            for fraction in FRACTIONS[1:3] if options.quick else FRACTIONS:
                few = options.quick or name == "twice"
                many = MANY if name == "random" and solver == "fista" else count
                X = targets(atoms, embeddings, FEW if few else many)
                started = time.process_time()
                result = sparse_encode(X, atoms, lmbda=fraction, solver=solver)
                spent = 1e3 * (time.process_time() - started) / len(X)
                kkt = float(result.kkt[result.converged].max()) / fraction
                share = float(result.converged.double().mean())
                print(
                    f"{name:10}{solver:>8}{fraction:>8g}{len(X):>7}{kkt:>10.1e}{share:>11.3f}"
                    f"{spent:>9.1f}",
                    flush=True,
                )
                found = {"kkt": kkt, "converged": share, "ms_per_row": spent}
                case = {"atoms": name, "solver": solver, "fraction": fraction, "rows": len(X)}
                rows.append(case | found)
    worst = max(row["kkt"] for row in rows)
    print(f"worst KKT residual of a row that reports convergence: {worst:.1e} lmbda")
    if options.json:
        options.json.write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
