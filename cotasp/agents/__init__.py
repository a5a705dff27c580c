"""What learns: agents, the learners they make, losses and updates."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Agent": "agent",
        "CoMPS": "comps",
        "Learner": "agent",
        "PPO": "ppo",
        "OffPolicy": "settings",
        "OffPolicyLearner": "off_policy",
        "SAC": "sac",
        "TD3": "td3",
        "Values": "values",
    },
)
