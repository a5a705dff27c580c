# written by scripts/write_stubs.py from the table in __init__.py
from cotasp.film.episode import Episode as Episode
from cotasp.film.files import save as save
from cotasp.film.pictures import captioned as captioned
from cotasp.film.pictures import side_by_side as side_by_side
