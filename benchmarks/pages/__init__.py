"""How fast the pages are with a year behind them; and the story that their pictures tell."""
