"""Five wrong submissions of lab 5, each with one mistake, and the points that it costs."""

MEAN_OF_THE_POSITIVE_PLACES = """
def balance(maps, weights, bias):
    evidence = cam(maps, weights)
    positive = evidence > 0
    speaks_for = (evidence * positive).sum(dim=(1, 2)) / positive.sum(dim=(1, 2)).clamp(min=1)
    against = (evidence * ~positive).sum(dim=(1, 2)) / (~positive).sum(dim=(1, 2)).clamp(min=1)
    return torch.stack([speaks_for, against, torch.full_like(against, bias)], dim=1)
"""

ALL_CLASSES_FOR_EACH_PICTURE = """
def pieces(model, x, layer, targets):
    kept = []
    module = model.get_submodule(layer)
    handle = module.register_forward_hook(lambda *args: kept.append(args[2]))
    try:
        logits = model(x.clone().requires_grad_())
    finally:
        handle.remove()
    chosen = logits[:, targets].sum()
    (gradient,) = torch.autograd.grad(chosen, kept[0])
    return kept[0].detach(), gradient
"""

FILLS_GRAD = """
def pieces(model, x, layer, targets):
    kept = []
    module = model.get_submodule(layer)
    handle = module.register_forward_hook(lambda *args: kept.append(args[2]))
    try:
        logits = model(x.clone().requires_grad_())
    finally:
        handle.remove()
    kept[0].retain_grad()
    logits[range(len(x)), targets].sum().backward()
    return kept[0].detach(), kept[0].grad
"""

RELU_IN_EACH_CHANNEL = """
def grad_cam(activation, gradient):
    evidence = gradient.mean(dim=(2, 3), keepdim=True) * activation
    return evidence.relu().sum(dim=1)

def relu_first(activation, gradient):
    return grad_cam(activation, gradient)
"""

COUNTS_A_DARK_MAP = """
def pointing(maps, quarters):
    high, wide = maps.shape[1] // 2, maps.shape[2] // 2
    upper, lower = maps[:, :high], maps[:, -high:]
    parts = [upper[..., :wide], upper[..., -wide:], lower[..., :wide], lower[..., -wide:]]
    peaks = torch.stack([part.amax(dim=(1, 2)) for part in parts], dim=1)
    return (peaks.argmax(dim=1) == torch.tensor(quarters)).float().mean().item()
"""

WRONG: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "takes the mean over the positive places only": (
        {"balance": MEAN_OF_THE_POSITIVE_PLACES},
        {"test_balance": 0.0},
    ),
    "asks for all classes of the list in each picture": (
        {"pieces": ALL_CLASSES_FOR_EACH_PICTURE},
        {"test_pieces": 0.0},
    ),
    "fills the parameters' grad": (
        {"pieces": FILLS_GRAD},
        {"test_pieces_leave_no_trace": 0.0},
    ),
    "cuts off what is negative before the sum": (
        {"orders": RELU_IN_EACH_CHANNEL},
        {"test_orders": 0.0},
    ),
    "counts a map that is zero everywhere as a hit": (
        {"pointing": COUNTS_A_DARK_MAP},
        {"test_pointing": 0.0},
    ),
}

# Cheats: submissions that do not do what the task asks, and the points that they get.

ASKS_THE_INPUT_ITSELF = """
def pieces(model, x, layer, targets):
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *args: kept.append(args[2]))
    try:
        logits = model(x.requires_grad_())
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(logits[range(len(x)), targets].sum(), kept[0])
    return kept[0].detach(), gradient
"""

THE_REST_IS_AGAINST = """
def balance(maps, weights, bias):
    evidence = cam(maps, weights)
    speaks_for = evidence.clamp(min=0).mean(dim=(1, 2))
    rest = evidence.mean(dim=(1, 2)) + bias - speaks_for
    return torch.stack([speaks_for, rest - 0.5, torch.full_like(rest, 0.5)], dim=1)
"""

CHEATS: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "no pieces, so nothing is left behind": (
        {
            "pieces": "def pieces(model, x, layer, targets): return None",
            "answer_5": "answer_5 = [49, 196, True, 49]",
        },
        {"test_pieces": 0, "test_pieces_leave_no_trace": 0, "test_answer_5": 0},
    ),
    "the input itself asks for gradients; a bias that fits the visible test": (
        {"pieces": ASKS_THE_INPUT_ITSELF, "balance": THE_REST_IS_AGAINST},
        {"test_pieces_leave_no_trace": 0, "test_balance": 0},
    ),
    "maps without a picture, not a number for the rest": (
        {
            "cam": "def cam(maps, weights): return torch.zeros(0, 1, 1)",
            "orders": """
def grad_cam(activation, gradient): return torch.full((1, 1, 3), torch.nan)
def relu_first(activation, gradient): return torch.zeros(0)
""",
            "pointing": "def pointing(maps, quarters): return float('nan')",
            "answer_5": "answer_5 = [float('nan')] * 4",
        },
        {
            "test_cam": 0,
            "test_balance": 0,
            "test_orders": 0,
            "test_pointing": 0,
            "test_answer_5": 0,
        },
    ),
}
