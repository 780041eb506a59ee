"""What to do with logits: probabilities that mean what they say, no answer, or several labels."""
