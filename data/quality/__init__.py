"""The quality gate: judge every batch, quarantine bad rows with their reason, score, report."""
