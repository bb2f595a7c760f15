"""How often a sign-in may be tried, by account and by address. In memory: one process serves the web."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

WINDOW_S = 900.0  # a guess a minute is no attack on 12 characters, and a person waits at most this long
PER_ACCOUNT_MAX = 10  # tries within the window: somebody who has forgotten which password it was
PER_ADDRESS_MAX = 60  # a control room behind one address
KEYS_MAX = 10_000  # remembered: some 5 MB; the longest unused is forgotten


class Tries:
    """Tries within the last WINDOW_S under each key; safe from several threads."""

    def __init__(self, tries_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max, self._clock = tries_max, clock
        self._lock = threading.Lock()
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, key: str) -> float:
        """Count a try before it is made; how many seconds to wait instead, or 0."""
        now = self._clock()
        with self._lock:
            own = self._tries.setdefault(key, deque(maxlen=self._max))
            self._tries.move_to_end(key)
            while len(self._tries) > KEYS_MAX:
                self._tries.popitem(last=False)
            while own and own[0] <= now - WINDOW_S:
                own.popleft()
            if len(own) >= self._max:
                return own[0] + WINDOW_S - now
            own.append(now)
            return 0.0

    def forget(self, key: str) -> None:
        """It was the right one: the tries before it are no attack."""
        with self._lock:
            self._tries.pop(key, None)
