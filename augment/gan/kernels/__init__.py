"""Fast forms of the equations, under the same names as the plain ones above."""
