"""Mistakes that students make in lab 2, and the points that are left."""

WRONG: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "places of the input, not of the output": (
        {
            "conv_cost": """
def conv_cost(conv, height, width):
    parameters = sum(value.numel() for value in conv.parameters())
    return parameters, parameters * height * width
"""
        },
        {"test_conv_cost": 0},
    ),
    "the sum of the channels instead of two steps": (
        {
            "saving": """
def saving(kernel, inputs, outputs):
    return 1 / outputs + 1 / kernel
""",
            "answer_factor": "answer_factor = 8 * 2",
        },
        {"test_saving": 0, "test_answer_factor": 0},
    ),
    "shares of the parameters, not of the work": (
        {
            "work_shares": """
def work_shares(model, size):
    found = {"depthwise": 0, "1x1": 0, "other": 0, "linear": 0}
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            mixes = "1x1" if layer.kernel_size == (1, 1) else "other"
            kind = "depthwise" if layer.groups == layer.in_channels > 1 else mixes
            found[kind] += sum(value.numel() for value in layer.parameters())
        elif isinstance(layer, nn.Linear):
            found["linear"] += sum(value.numel() for value in layer.parameters())
    return {kind: count / sum(found.values()) for kind, count in found.items()}
"""
        },
        {"test_work_shares": 0},
    ),
    "torchinfo's passes halved: BatchNorm is in them": (
        {
            "map_bytes": """
def map_bytes(model, size):
    return viz.summary(model, size).pass_bytes // 2
"""
        },
        {"test_map_bytes": 0},
    ),
    "one step too far, and any grouped convolution taken for depthwise": (
        {
            "largest_side": """
def largest_side(model, budget):
    side = 32
    while viz.summary(model, (1, 3, side, side)).mult_adds <= budget:
        side += 32
    return side
""",
            # Right on both networks of the lab and on the small one: only a hidden test tells.
            "work_shares": """
def work_shares(model, size):
    work = {"depthwise": 0, "1x1": 0, "other": 0, "linear": 0}
    for row in viz.module_tree(model, 20, input_size=size).rows:
        layer = model.get_submodule(row.name)
        if isinstance(layer, nn.Conv2d) and row.shape:
            mixes = "1x1" if layer.kernel_size == (1, 1) else "other"
            kind = "depthwise" if layer.groups > 1 else mixes
            work[kind] += row.parameters * row.shape[2] * row.shape[3]
        elif isinstance(layer, nn.Linear) and row.shape:
            work["linear"] += row.parameters
    return {kind: amount / sum(work.values()) for kind, amount in work.items()}
""",
        },
        {"test_largest_side": 0, "test_work_shares": 0},
    ),
}

# Cheats: submissions that do not do what the task asks, and the points that they get.

CHEATS: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "torchinfo counts, and not a number for the rest": (
        {
            "conv_cost": """
def conv_cost(conv, height, width):
    found = viz.summary(nn.Sequential(conv), (1, conv.in_channels, height, width))
    return found.parameters, found.torchinfo_mult_adds
""",
            "saving": "def saving(kernel, inputs, outputs): return math.nan",
            "map_bytes": "def map_bytes(model, size): return math.nan",
            "answer_factor": "answer_factor = math.nan",
        },
        {"test_conv_cost": 0, "test_saving": 0, "test_map_bytes": 0, "test_answer_factor": 0},
    ),
    "a layer of its own runs, its parameters are counted; complex shares, a huge side": (
        {
            "conv_cost": """
def conv_cost(conv, height, width):
    layer = nn.Conv2d(1, 1, conv.kernel_size, conv.stride, conv.padding, device="meta")
    places = layer(torch.zeros(1, 1, height, width, device="meta"))[0, 0].numel()
    parameters = sum(value.numel() for value in conv.parameters())
    return parameters, parameters * places
""",
            "largest_side": "def largest_side(model, budget): return 32 * 10**9",
            "answer_factor": "answer_factor = True",
        },
        {"test_conv_cost": 0, "test_largest_side": 0, "test_answer_factor": 0},
    ),
    "right for what the visible tests ask": (
        {
            "saving": "def saving(kernel, inputs, outputs): return 1 / 64 + 1 / 9",
            "work_shares": """
def work_shares(model, size):
    work = {"other": 144 * 64, "depthwise": 72 * 64, "1x1": 32 * 64, "linear": 50}
    return {kind: amount / sum(work.values()) for kind, amount in work.items()}
""",
            "map_bytes": "def map_bytes(model, size): return 732 * size[0]",
            "largest_side": """
def largest_side(model, budget):
    return {30_000: 96, 12_288: 64}.get(budget, 0)
""",
        },
        {"test_saving": 0, "test_work_shares": 0, "test_map_bytes": 0, "test_largest_side": 0},
    ),
}
