"""The type checker that the tests put on the library's signatures."""

from beartype import BeartypeConf, beartype

# As for every static checker, an int is good where a float is asked for.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
