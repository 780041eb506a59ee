"""The exact search over weights of linear blends, and how weights may be chosen."""
