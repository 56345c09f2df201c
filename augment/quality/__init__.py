"""How good the generated images are: structural similarity, masks of the body, Inception Score, Detection Score."""
