"""Keep token and account id out of logs and messages.

The account id is part of every URL, and both the client library and urllib3 log URLs; exception texts of requests
carry them too. The adapter never quotes such texts; this filter covers the libraries' own log lines.
"""

import logging
import threading

_LOGGERS = ("oandapyV20.oandapyV20", "urllib3.connectionpool", "urllib3.util.retry")


class _SecretFilter(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._secrets: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def add(self, secrets: frozenset[str]) -> None:
        with self._lock:
            self._secrets |= secrets

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.clean(record.getMessage()), None
        if record.exc_info:
            record.exc_info, record.exc_text = None, None  # a traceback of requests quotes the URL
        return True


_FILTER = _SecretFilter()


def protect(*secrets: str) -> None:
    """Replace these texts by stars in everything the HTTP libraries log from now on."""
    _FILTER.add(frozenset(secret for secret in secrets if secret))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if _FILTER not in logger.filters:
            logger.addFilter(_FILTER)


def clean(text: str) -> str:
    """Return ``text`` with all protected texts replaced by stars."""
    return _FILTER.clean(text)
