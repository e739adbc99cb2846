"""The base of every parameter section that training reads."""

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group of parameters. An unknown key is an error: a typing mistake must not be a silent default."""
