"""The commands of ``augment``: they parse, call and print; heavy imports are deferred until a command runs."""
