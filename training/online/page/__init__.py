"""The page of a release: its way, its evidence and the money of both versions, in one file."""

from training.online.page.content import Chapter, release_page

__all__ = ["Chapter", "release_page"]
