"""What notifications say: templates and their rendering, and the service's own words in people's languages.

Nothing is imported here: the rendering process loads only what it needs.
"""
