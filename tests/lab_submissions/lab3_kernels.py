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
