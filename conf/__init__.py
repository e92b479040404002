"""The config tree: a folder is a config group, a file one of its choices."""
