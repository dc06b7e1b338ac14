"""Pictures that move: a widget in the browser, its controls, and pages without a kernel."""
