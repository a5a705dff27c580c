"""Mask policies, masked layers, the meta-policy, critics, ownership and compact extraction."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ActorSpec": "specs",
        "CategoricalCritic": "specs",
        "CodeTable": "codes",
        "Copies": "masks",
        "Critic": "specs",
        "Critics": "critics",
        "Dense": "masks",
        "Keeps": "masks",
        "LayerMasks": "codes",
        "MLPCritic": "specs",
        "MaskPolicy": "masks",
        "MaskedMLP": "policy",
        "MetaPolicy": "policy",
        "Ownership": "ownership",
        "PopArtCritic": "specs",
        "RandomMask": "masks",
        "ResidualCritic": "specs",
        "Scored": "scored",
        "Share": "share",
        "Sigmoid": "masks",
        "Step": "masks",
        "TopK": "masks",
        "actor_module": "tensordict",
        "critic_modules": "tensordict",
        "export_policy": "export",
        "extract": "subnetwork",
        "membership": "subnetwork",
        "plain_module": "export",
        "sample_squashed": "policy",
        "used_weights": "subnetwork",
    },
)
