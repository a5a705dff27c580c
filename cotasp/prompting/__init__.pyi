# written by scripts/write_stubs.py from the table in __init__.py
from cotasp.prompting.encoders import Encoder as Encoder
from cotasp.prompting.encoders import OneHot as OneHot
from cotasp.prompting.encoders import RandomEncoder as RandomEncoder
from cotasp.prompting.encoders import SBERT as SBERT
from cotasp.prompting.encoders import TfIdf as TfIdf
from cotasp.prompting.prompter import Prompter as Prompter
from cotasp.prompting.recall import Recall as Recall
from cotasp.prompting.recall import RecallPolicy as RecallPolicy
from cotasp.prompting.recall import taught_as as taught_as
from cotasp.prompting.sparse_coding import SparseCoding as SparseCoding
from cotasp.prompting.tensordict import TextEncoder as TextEncoder
from cotasp.prompting.tensordict import prompt_module as prompt_module
from cotasp.prompting.texts import checked_texts as checked_texts
from cotasp.prompting.texts import normal_form as normal_form
