"""Our own pose estimator on openpifpaf: training, decoding, evaluation, the shipped checkpoint."""
