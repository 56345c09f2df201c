"""What looks at a whole run: the table of stages, the plan, reuse, estimates, lineage, the doctor."""
