"""FlashTorch, same names and signatures, right on today's PyTorch.

FlashTorch 0.1.3 (Misa Ogura, 2019) was last released in 2020. Write ``vizhelpers.flash`` for
``flashtorch`` in the imports; nothing else changes, since the modules are the same:
``saliency``, ``activmax`` and ``utils``. What is different:

- ``calculate_gradients`` needs no ``requires_grad_()`` on its input, ``visualize`` bears it;
- ``target_class`` is explained as asked; a warning says that the model predicts another one;
- guided backpropagation is right: in-place ReLUs and ReLU used as a function included;
- the maximum over colour channels is taken of absolute values;
- no hook stays on the model, its mode and its parameters' ``.grad`` are as before;
- one figure costs one forward and one backward pass;
- ``lr`` is the constructor's (``visualize(lr=None)``, where FlashTorch's 1.0 overrides it);
  filters are 0 to n - 1; the noise has a seed;
- several filters climb as one batch, only as far as their layer, and no graph is kept;
- ``visualize`` and ``deepdream`` return their figure. As FlashTorch's, it also belongs to pyplot,
  so ``plt.show()`` and ``plt.savefig(...)`` work; pyplot holds the last ten of them.
"""

from vizhelpers.flash.activmax import GradientAscent
from vizhelpers.flash.saliency import Backprop

__all__ = ["Backprop", "GradientAscent"]
