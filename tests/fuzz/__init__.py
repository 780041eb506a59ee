"""Damaged files: every reader gives a result or a ValueError that names the file, soon and in little memory."""
