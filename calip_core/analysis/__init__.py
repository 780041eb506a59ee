"""Analyses of tokens and records: localization, token geometry, few-shot leaders, speed."""
