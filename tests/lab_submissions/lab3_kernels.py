"""Mistakes that students make in lab 3, and the points that are left."""

WRONG: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "the kernel turned, as in mathematics": (
        {
            "respond": """
def respond(x, kernel, stride=1, dilation=1):
    turned = kernel.flip(0, 1)[None, None]
    return F.conv2d(x[None, None], turned, stride=stride, dilation=dilation)[0, 0]
"""
        },
        # two_passes calls respond, so both of its passes are turned.
        {"test_respond": 0, "test_two_passes": 0},
    ),
    "singular value forgotten": (
        {
            "rank_one": """
def rank_one(kernel):
    u, s, vh = torch.linalg.svd(kernel)
    return u[:, 0], vh[0]
"""
        },
        {"test_rank_one": 0},
    ),
    "a column of vh instead of a row, and both passes on the map": (
        {
            "rank_one": """
def rank_one(kernel):
    u, s, v = torch.linalg.svd(kernel)
    return u[:, 0] * s[0], v[:, 0]
""",
            "two_passes": """
def two_passes(x, column, row):
    upright, flat = respond(x, column[:, None]), respond(x, row[None])
    rows, columns = min(len(upright), len(flat)), min(upright.shape[1], flat.shape[1])
    return upright[:rows, :columns] + flat[:rows, :columns]
""",
        },
        {"test_rank_one": 0, "test_two_passes": 0},
    ),
    "mean of the shares, and products of both passes multiplied": (
        {
            "share": """
def share(weight):
    energy = torch.linalg.svdvals(weight) ** 2
    return (energy[..., 0] / energy.sum(dim=-1)).mean().item()
""",
            "products": """
def products(high, wide):
    return high * wide, 2 * high
""",
        },
        {"test_share": 0, "test_products": 0},
    ),
    "the weights are not put back": (
        {
            "thinned": """
def thinned(model, chosen, x):
    with torch.no_grad():
        for name in chosen:
            weight = model.get_submodule(name).weight
            u, s, vh = torch.linalg.svd(weight)
            weight.copy_(u[..., :1] * s[..., None, :1] @ vh[..., :1, :])
        return model(x)
"""
        },
        {"test_untouched": 0},  # the logits themselves are right
    ),
}

# Cheats: submissions that do not do what the task asks, and the points that they get.

CHEATS: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "conv2d in both, the kernel built": (
        {
            "respond": """
from torch.nn.functional import conv2d as add_up

def respond(x, kernel, stride=1, dilation=1):
    return add_up(x[None, None], kernel[None, None], stride=stride, dilation=dilation)[0, 0]
""",
            "two_passes": """
def two_passes(x, column, row):
    return respond(x, torch.outer(column, row))
""",
        },
        {"test_respond": 0, "test_two_passes": 0},
    ),
    "unfold cuts the windows; column and row as matrices; no layer is replaced": (
        {
            "respond": """
def respond(x, kernel, stride=1, dilation=1):
    high, wide = kernel.shape
    rows = (x.shape[0] - dilation * (high - 1) - 1) // stride + 1
    windows = F.unfold(x[None, None], kernel.shape, dilation=dilation, stride=stride)[0]
    return (kernel.flatten() @ windows).reshape(rows, -1)
""",
            "rank_one": """
def rank_one(kernel):
    u, s, vh = torch.linalg.svd(kernel)
    return u[:, :1] * s[0], vh[:1]
""",
            "thinned": """
def thinned(model, chosen, x):
    with torch.no_grad():
        return model(x)
""",
        },
        {"test_respond": 0, "test_rank_one": 0, "test_thinned": 0, "test_untouched": 0},
    ),
    "a layer runs, None and not a number for the rest": (
        {
            "respond": """
def respond(x, kernel, stride=1, dilation=1):
    layer = nn.Conv2d(1, 1, tuple(kernel.shape), stride, 0, dilation, bias=False)
    layer.weight = nn.Parameter(kernel[None, None])
    return layer(x[None, None])[0, 0].detach()
""",
            "products": "def products(high, wide): return [float('nan')] * 2",
            "share": "def share(weight): return float('nan')",
            "thinned": "def thinned(model, chosen, x): return None",
        },
        {
            "test_respond": 0,
            "test_products": 0,
            "test_share": 0,
            "test_thinned": 0,
            "test_untouched": 0,
        },
    ),
}
