"""Reports of a campaign: gathered once from the analytics, told as a page, a figure, a table or text."""
