"""Look inside a convolutional network: ``import vizhelpers as viz``.

The public names stand in ``__init__.pyi`` beside this file. Each is imported when it is first
used, so that ``import vizhelpers`` itself costs nothing; grad-cam alone takes seconds.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
