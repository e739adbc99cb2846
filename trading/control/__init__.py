"""Control by a person or a breach: the kill switch, its file, its HTTP route and its use without a trader."""
