"""A run as a whole: the table of stages, the plan, reuse, estimates, lineage, the doctor."""
