# written by scripts/write_stubs.py from the table in __init__.py
from cotasp.agents.agent import Agent as Agent
from cotasp.agents.agent import Learner as Learner
from cotasp.agents.comps import CoMPS as CoMPS
from cotasp.agents.off_policy import OffPolicyLearner as OffPolicyLearner
from cotasp.agents.ppo import PPO as PPO
from cotasp.agents.sac import SAC as SAC
from cotasp.agents.settings import OffPolicy as OffPolicy
from cotasp.agents.td3 import TD3 as TD3
from cotasp.agents.values import Values as Values
