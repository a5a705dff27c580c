"""From a task's text to its prompt: encoders, and one dictionary per hidden layer."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Encoder": "encoders",
        "OneHot": "encoders",
        "Prompter": "prompter",
        "RandomEncoder": "encoders",
        "Recall": "recall",
        "RecallPolicy": "recall",
        "SBERT": "encoders",
        "SparseCoding": "sparse_coding",
        "TextEncoder": "tensordict",
        "TfIdf": "encoders",
        "checked_texts": "texts",
        "normal_form": "texts",
        "prompt_module": "tensordict",
        "taught_as": "recall",
    },
)
