"""What a backtest is told as: measures, pictures and one page that needs nothing else."""
