"""The user study (Sec. 6.2): people are shown real and generated images for a second each, and say which is which."""
