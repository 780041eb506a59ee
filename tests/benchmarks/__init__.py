"""Measurements that ``make bench`` prints. They are ratios within one process and never fail a test."""
