"""torch's random state: one for the whole process, which its threads share."""

import threading

#: Held by whoever draws from it, as the initialisation of a network does: the draws of another would change its own.
RANDOM_STATE = threading.Lock()
