"""One file for each notebook: its exercises, their truths and the foreseen mistakes."""
