"""What the images are worth: the same re-ID training with and without them (App. C, Tab. 4)."""
