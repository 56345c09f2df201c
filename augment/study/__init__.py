"""The user study (Sec. 6.2): users see real and generated images for a second each, and classify them."""
