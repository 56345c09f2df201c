"""Where images and identities come from."""
