"""Figures as pictures, where matplotlib is installed (`make perf` installs it)."""
