"""The commands of ``calip``: one module each, with ``add_parser(subparsers)``."""
