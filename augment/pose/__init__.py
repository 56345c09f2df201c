"""Pose estimation: the 18 joints of the person in an image."""
