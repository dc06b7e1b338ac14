"""JupyterHub itself, without an import that only makes its start slow.

The arguments are JupyterHub's. See ``start.py`` for the same in a student's server; a hub that is
back sooner is missed less.
"""

import sys


def main() -> None:
    """Be JupyterHub."""
    # Only jsonschema wants this, for a check of web addresses that nothing here asks for; it
    # compiles a grammar for two to three seconds.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    from jupyterhub.app import main as hub

    hub()


if __name__ == "__main__":
    main()
