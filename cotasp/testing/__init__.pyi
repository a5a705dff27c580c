# written by scripts/write_stubs.py from the table in __init__.py
from cotasp.testing.agents import check_agent as check_agent
from cotasp.testing.critics import check_critic as check_critic
from cotasp.testing.dictionaries import check_solver as check_solver
from cotasp.testing.dictionaries import check_update_rule as check_update_rule
from cotasp.testing.encoders import check_encoder as check_encoder
from cotasp.testing.encoders import check_recall as check_recall
from cotasp.testing.masks import check_mask as check_mask
from cotasp.testing.memories import check_memory as check_memory
from cotasp.testing.protections import check_protection as check_protection
from cotasp.testing.renewals import check_renewal as check_renewal
from cotasp.testing.streams import check_stream as check_stream
