"""Person retrieval: re-ID networks and their weights, their features, the ranking of a gallery."""
