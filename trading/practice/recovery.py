"""Whether a state folder belongs to the account and market that are being started."""

from core.clock import to_rfc3339
from core.errors import ConfigurationError
from trading.matching.book import Book
from trading.practice.config import PracticeConfig
from trading.practice.feeds.interface import Feed

# What an account is opened with and keeps: its journal was written by these rules.
_RULES = ("hedging", "fifo", "weekend_halt", "maintenance", "financing", "financing_rates", "liquidity")


def check_recovered(book: Book, config: PracticeConfig, feed: Feed) -> None:
    """Refuse a state folder that belongs to something else.

    Raises:
        ConfigurationError: another account, one with other rules, another start of the feed, or instruments that are
            missing here.
    """
    folder = config.state_directory
    if book.configuration.account_id != config.account_id:
        raise ConfigurationError(f"the state folder {folder} holds another account: use a folder of its own")
    if book.created_time != to_rfc3339(feed.start_ns):
        raise ConfigurationError(
            f"the state folder {folder} belongs to a market that starts at {book.created_time}, "
            f"this one starts at {to_rfc3339(feed.start_ns)}: use the same --from and data, or another folder"
        )
    wanted = config.account()
    changed = [name for name in _RULES if getattr(book.configuration, name) != getattr(wanted, name)]
    if changed:
        raise ConfigurationError(
            f"the state folder {folder} holds an account with another {', '.join(changed)}: "
            "start with the same options, or with another folder"
        )
    missing = sorted(book.quotes.keys() - set(feed.instruments))
    if missing:
        raise ConfigurationError(f"the state folder {folder} has {', '.join(missing)}, this market has not")
