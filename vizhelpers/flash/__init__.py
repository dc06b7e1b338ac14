"""FlashTorch, with its names and signatures, correct on current PyTorch.

FlashTorch 0.1.3 (Misa Ogura, 2019) was last released in 2020. Write ``vizhelpers.flash`` for
``flashtorch`` in the imports; the modules (``saliency``, ``activmax`` and ``utils``), their names,
arguments and attributes are the same. The differences:

- ``calculate_gradients`` needs no ``requires_grad_()`` on its input, and ``visualize`` allows it;
- ``target_class`` is the class that is explained; a warning says if another class is predicted;
- guided backpropagation is correct, also for in-place ReLUs and ReLU used as a function;
- the maximum over colour channels is taken of absolute values;
- the model runs in eval mode, and keeps its mode, its device and its parameters' ``.grad``; no hook
  stays on it, so ``handlers`` and ``relu_outputs`` are empty;
- one figure costs one forward and one backward pass; figures have their own titles, a colour bar,
  and grey for a gradient of zero; filters are drawn four in a row, of ``figsize`` each, or smaller
  if there are many;
- ``lr`` is the constructor's (``visualize(lr=None)``, where FlashTorch's 1.0 overrides it), and a
  call's own ``lr`` applies to that call only;
- filters are 0 to n - 1; the noise, and filters drawn at random without repetition, depend on
  ``seed`` and not on numpy's random state;
- several filters climb as one batch from one picture; after the first step the network runs only
  up to the layer; pictures, ``activation`` and ``gradients`` are detached, so no graph is kept;
- networks with any number of input channels can be visualised;
- a wrong argument, NaN in the model's output, and a ``forward`` that lets no gradient through raise
  an error that names the cause;
- ``visualize`` and ``deepdream`` return their figure. As in FlashTorch it also belongs to pyplot,
  so ``plt.show()`` and ``plt.savefig(...)`` work; pyplot keeps the last ten of them.

Of the 60 tests in FlashTorch's repository (without those that are repeated for each model of
torchvision) 47 pass here, and 50 with FlashTorch itself on today's PyTorch. Eight of the other 13
fail for both: ``unittest.mock`` cannot replace a tensor. Five observe internals: that the
constructor calls ``model.eval()``; that hooks are registered once on the layer and on the first
convolution, and removed by the next call; that ``forward`` gets the tensor ``input_`` itself.
"""

from vizhelpers.flash.activmax import GradientAscent
from vizhelpers.flash.saliency import Backprop

__all__ = ["Backprop", "GradientAscent"]
