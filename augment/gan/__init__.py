"""The paper's generator: body regions, deformable skips, networks, losses, training."""
