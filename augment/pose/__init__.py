"""From an image to the 18 joints of the person in it."""
