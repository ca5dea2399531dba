"""A trained network for somewhere else: freezing, formats, their verification, and what running it costs."""
