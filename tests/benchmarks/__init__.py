"""Measurements of ``make bench``. They never fail a test.

Every module here with a ``run()`` that yields ``calip_core.analysis.speed_records.Measurement`` is a
benchmark. Its name is the module's, its title the first line of the module's docstring.
"""
