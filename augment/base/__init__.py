"""What knows nothing of re-ID: errors, files, progress, interruption, devices, drawing."""
