"""What tokens and records tell: localization, geometry of tokens, speed."""
