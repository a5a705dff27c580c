"""An update rule of dictionaries: one gradient step at the end of each task."""

from dataclasses import dataclass

from cotasp.errors import RecipeError


@dataclass(frozen=True)
class Example:
    """One step down the gradient of 1/2 ||e - s D||^2, by the task's text e and code s.

    Args:
        rate: of the step, above 0.
    """

    rate: float = 0.1

    def __call__(self, dictionary, embedding, code, *, lmbda):
        if not lmbda > 0:
            raise RecipeError(f"lmbda: expected a positive number, got {lmbda}")
        dictionary.record(embedding, code)  # refuses what does not fit or is not finite
        e = embedding.reshape(-1, dictionary.n_features).mean(0).to(dictionary.atoms)
        s = code.detach().to(dictionary.atoms)
        moved = dictionary.atoms + self.rate * s[:, None] * (e - s @ dictionary.atoms)
        dictionary.atoms.copy_(dictionary.project(moved))
