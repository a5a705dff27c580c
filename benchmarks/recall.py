"""Does the text alone give a task's prompt back?  Every update rule, real sentence embeddings.

    python benchmarks/recall.py [--quick] [--init texts] [--json FILE]

Two passes over the ten texts of Continual World, and one pass over 200 other instructions
(`benchmarks/instructions.txt`), with all-MiniLM-L6-v2 embeddings.  Each task takes the lasso of its
text as its code, "trains" it (10 % of the active neurons off, the other active codes times
1 + 0.1 N(0, 1)), and ends with the rule's update.  As in the paper a prompt has four layers, each
with a dictionary of its own: of 1,024 atoms for CW10, of 2,048 for the 200 texts.  Masks are those
of the whole prompt.

recall      Jaccard of each text's mask under the final atoms with its last stored mask
repeat      the same at the start of the second visit, with the first visit's mask
alignment   Spearman's correlation, over task pairs, of text cosine and overlap of stored masks
linear      Pearson's correlation of the same
change      ||D - D_0|| / ||D_0|| over the whole run
ms          CPU time of one update of one layer, one thread
paraphrase  Jaccard of the mask of a paraphrase, never trained on, with its original's
missed      updates that ended with a ConvergenceWarning

With `--init texts` atoms lean towards the span of Meta-World's 40 other instructions; of the rules
then only `frozen`, `online` and `anchored` are run, on CW10.

All masks are s > 0; figures are means, recall_min the worst text of all seeds.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from _machine import machine

from cotasp.dictionaries import Dictionary, sparse_encode
from cotasp.dictionaries.diagnostics import alignment, change, jaccard
from cotasp.dictionaries.updates import Anchored, Frozen, Lazy, Online, UpdateRule
from cotasp.errors import ConvergenceWarning
from cotasp.prompting.encoders import SBERT
from cotasp.tasks.texts import CW10, TEXTS

LAYERS = 4
MAIN = ("frozen", "online", "anchored")
SEEDS = "seeds 0 to 2 (lambda 0.001: seed 0)"
RULES: dict[str, UpdateRule] = {
    "frozen": Frozen(),
    "online": Online(),
    "online keep": Online(unused="keep"),
    "lazy": Lazy(),
    "anchored fitted": Anchored(codes="fitted"),
    "anchored": Anchored(),
}


def instructions() -> list[list[str]]:
    """The 200 texts, each alone or followed by its paraphrase."""
    lines = Path(__file__).with_name("instructions.txt").read_text(encoding="utf-8").splitlines()
    return [line.split(" | ") for line in lines if not line.startswith("#")]


def trained(code: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A code as training leaves it: a tenth of the active neurons off, the others perturbed."""
    active = (code > 0).nonzero().flatten()
    noise = torch.randn(len(active), generator=generator, dtype=code.dtype)
    off = active[torch.randperm(len(active), generator=generator)[: round(0.1 * len(active))]]
    code = code.clone()
    code[active] *= (1 + 0.1 * noise).clamp(min=0.1)
    code[off] = 0.0
    return code


def timed(update: Callable[[], None]) -> tuple[float, bool]:
    """CPU seconds of an update, and whether it ended without a ConvergenceWarning."""
    begun = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        update()
    missed = any(w.category is ConvergenceWarning for w in caught)
    return time.process_time() - begun, not missed


def run(
    rule: UpdateRule,
    embeddings: torch.Tensor,
    paraphrases: dict[int, torch.Tensor],
    *,
    lmbda: float,
    n_components: int,
    passes: int,
    seed: int,
    corpus: torch.Tensor | None = None,
) -> dict[str, float]:
    """One run over all texts, `passes` times; see the module for the figures."""
    size, init = (n_components, embeddings.shape[1]), "random" if corpus is None else "texts"
    layers = [
        Dictionary(*size, seed=LAYERS * seed + i, init=init, data=corpus) for i in range(LAYERS)
    ]
    generator = torch.Generator().manual_seed(seed)
    start = [layer.atoms.clone() for layer in layers]

    def prompts(rows: torch.Tensor) -> list[torch.Tensor]:
        return [sparse_encode(rows, layer.atoms, lmbda=lmbda).code for layer in layers]

    def masks(codes: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(codes, dim=-1) > 0

    stored = torch.zeros(len(embeddings), LAYERS * n_components, dtype=torch.bool)
    repeats, seconds, missed = [], 0.0, 0
    for number in range(passes):
        for task, embedding in enumerate(embeddings):
            codes = [code[0] for code in prompts(embedding[None])]
            if number:
                repeats.append(jaccard(masks(codes), stored[task]).item())
            codes = [trained(code, generator) for code in codes]
            stored[task] = masks(codes)
            for layer, code in zip(layers, codes):
                spent, converged = timed(partial(rule, layer, embedding, code, lmbda=lmbda))
                seconds, missed = seconds + spent, missed + (not converged)
    recalls = jaccard(masks(prompts(embeddings)), stored)
    changes = [change(layer.atoms, before) for layer, before in zip(layers, start)]
    figures = {
        "recall": recalls.mean().item(),
        "recall_min": recalls.min().item(),
        "alignment": alignment(embeddings, stored),
        "linear": alignment(embeddings, stored, ranked=False),
        "change": sum(changes) / LAYERS,
        "active": stored.double().mean().item(),
        "ms": 1e3 * seconds / (passes * len(embeddings) * LAYERS),
        "missed": float(missed),
    }
    if repeats:
        figures["repeat"] = sum(repeats) / len(repeats)
    if paraphrases:
        theirs = masks(prompts(torch.stack(list(paraphrases.values()))))
        figures["paraphrase"] = jaccard(theirs, stored[list(paraphrases)]).mean().item()
    return figures


COLUMNS = ["recall", "recall_min", "repeat", "alignment", "linear"]
COLUMNS += ["paraphrase", "change", "active", "ms", "missed"]


def head(title: str) -> None:
    print(f"\n{title}\n{'lambda':>7} {'rule':<16}" + "".join(f"{name:>11}" for name in COLUMNS))


def line(row: dict) -> dict:
    """Prints a row of the table as soon as it is known, and passes it on."""
    cells = (f"{row[name]:11.3f}" if name in row else f"{'':11}" for name in COLUMNS)
    print(f"{row['lmbda']:>7g} {row['rule']:<16}" + "".join(cells), flush=True)
    return row


def mean_of(runs: list[dict[str, float]]) -> dict[str, float]:
    least = {"recall_min": min(run["recall_min"] for run in runs)}
    return {key: sum(run[key] for run in runs) / len(runs) for key in runs[0]} | least


def many_texts(encoder: SBERT, count: int) -> list[dict]:
    """The table of the other instructions and their paraphrases."""
    texts, rows = instructions()[:count], []
    embeddings = encoder([text[0] for text in texts]).double()
    known = [i for i, text in enumerate(texts) if len(text) > 1]
    paraphrases = dict(zip(known, encoder([texts[i][1] for i in known]).double()))
    head(f"{len(texts)} instructions, one pass, 2,048 atoms, seed 0")
    for name in MAIN:
        case = {"lmbda": 0.1, "n_components": 2048, "passes": 1, "seed": 0}
        figures = run(RULES[name], embeddings, paraphrases, **case)
        rows.append(line({"lmbda": 0.1, "rule": name, **figures}))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one seed, fewer cases, < 1 minute")
    parser.add_argument("--init", choices=["random", "texts"], default="random")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    facts, encoder = machine("sentence-transformers"), SBERT()

    quick = arguments.quick
    report = {"machine": facts, "init": arguments.init, "cw10": []}
    embeddings = encoder([TEXTS[task] for task in CW10]).double()
    leaning = arguments.init == "texts"
    others = [text for task, text in TEXTS.items() if task not in CW10]
    corpus = encoder(others).double() if leaning else None
    head("CW10 texts, two passes, 1,024 atoms, " + ("seed 0" if quick else SEEDS))
    lmbdas = (0.1, 0.05, 0.03, 0.01) if leaning else (0.1, 0.05, 0.03, 0.01, 1e-3)
    for lmbda in (0.1, 0.03) if quick else lmbdas:
        for name in MAIN if quick or leaning else RULES:
            case = {"lmbda": lmbda, "n_components": 1024, "passes": 2, "corpus": corpus}
            seeds = range(1 if quick or lmbda < 0.01 else 3)
            runs = [run(RULES[name], embeddings, {}, seed=seed, **case) for seed in seeds]
            report["cw10"].append(line({"lmbda": lmbda, "rule": name, **mean_of(runs)}))

    if not leaning:
        report["instructions"] = many_texts(encoder, 15 if quick else 200)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
