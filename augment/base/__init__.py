"""Independent of re-ID: errors, files, progress, interruption, devices, drawing."""
