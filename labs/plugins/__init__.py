"""Plugins of nbgrader for this course; nbgrader_config.py switches them on."""
