"""What ``tools.build_site`` is made of: Markdown, code cells, pages, and the style sheet."""
