"""Tasks that need no files of the reader's: rendered, or part of an installed package."""
