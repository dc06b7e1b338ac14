"""Mistakes that students make in lab 1, and the points that are left."""

WRONG: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "dilation and ceil_mode overlooked": (
        {
            "size_after": """
def size_after(layer, height, width):
    settings = (layer.kernel_size, layer.stride, layer.padding)
    pairs = [one if isinstance(one, tuple) else (one, one) for one in settings]
    return [
        (side + 2 * padding[i] - kernel[i]) // stride[i] + 1
        for i, side in enumerate((height, width))
        for kernel, stride, padding in [pairs]
    ]
""",
            # With the wrong rounding maxpool4 makes 7 rows of 15, not 8.
            "answer_shape": "answer_shape = [832, 7, 10]",
        },
        {"test_size_after": 0, "test_answer_shape": 0},
    ),
    "groups overlooked, and one branch taken for the whole block": (
        {
            "conv_parameters": """
def conv_parameters(inputs, outputs, kernel, groups, bias):
    return outputs * inputs * kernel[0] * kernel[1] + bias * outputs
""",
            "answer_shape": "answer_shape = [128, 8, 10]",
        },
        {"test_conv_parameters": 0, "test_answer_shape": 0},
    ),
    "counts what is kept, not what is learned": (
        {
            "by_child": """
def by_child(model):
    return {
        name: sum(value.numel() for value in child.state_dict().values())
        for name, child in model.named_children()
    }
"""
        },
        {"test_by_child": 0},
    ),
    "looks one level down only": (
        {
            "find": """
def find(model, kernel):
    return [
        name
        for name, child in model.named_children()
        if isinstance(child, nn.Conv2d) and child.kernel_size == kernel
    ]
""",
            "idle": """
def idle(model, size):
    rows = viz.module_tree(model, 1, input_size=size).rows
    return [row.name for row in rows if row.shape is None]
""",
        },
        # balance calls idle, and takes the ModuleList, whose layers do run, for idle.
        {"test_find": 0, "test_idle": 0, "test_balance": 0},
    ),
    "every idle module with all that is in it, and always one size": (
        {
            "idle": """
def idle(model, size):
    rows = viz.module_tree(model, 20, input_size=(1, 3, 224, 224)).rows
    return [row.name for row in rows if row.shape is None]
""",
            "balance": """
def balance(model, size):
    rows = viz.module_tree(model, 20, input_size=size).rows
    asleep = sum(row.parameters for row in rows if row.shape is None)
    return sum(p.numel() for p in model.parameters()) - asleep, asleep
""",
        },
        {"test_idle": 0, "test_balance": 0},
    ),
}

# Cheats: submissions that do not do what the task asks, and the points that they get.

CHEATS: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "runs the layer, and builds it to count": (
        {
            "size_after": """
def size_after(layer, height, width):
    channels = getattr(layer, "in_channels", 1)
    return list(layer(torch.zeros(1, channels, height, width)).shape[2:])
""",
            "conv_parameters": """
def conv_parameters(inputs, outputs, kernel, groups, bias):
    layer = nn.Conv2d(inputs, outputs, kernel, groups=groups, bias=bias, device="meta")
    return sum(value.numel() for value in layer.parameters())
""",
        },
        {"test_size_after": 0, "test_conv_parameters": 0},
    ),
    "runs a layer of its own with the same settings, without memory": (
        {
            "size_after": """
def size_after(layer, height, width):
    settings = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    x = torch.zeros(1, device="meta").expand(1, 1, height, width)
    if isinstance(layer, nn.MaxPool2d):
        return list(nn.MaxPool2d(*settings, ceil_mode=layer.ceil_mode)(x).shape[2:])
    return list(nn.Conv2d(1, 1, *settings, device="meta")(x).shape[2:])
"""
        },
        {"test_size_after": 0},
    ),
    "texts, fewer parameters, None for what learns nothing": (
        {
            "answer_shape": 'answer_shape = ["832", "8", "10"]',
            "conv_parameters": """
def conv_parameters(inputs, outputs, kernel):
    return outputs * inputs * kernel[0] * kernel[1]
""",
            "by_child": """
def by_child(model):
    return {
        name: sum(parameter.numel() for parameter in child.parameters()) or None
        for name, child in model.named_children()
    }
""",
            "find": "find = None",
        },
        {"test_answer_shape": 0, "test_conv_parameters": 0, "test_by_child": 0, "test_find": 0},
    ),
    "right for what the visible tests ask": (
        {
            "find": """
def find(model, kernel):
    return ["0", "1.2"]
""",
            "idle": """
def idle(model, size):
    return ["spare.0", "spare.1"] + (["wide"] if size[2] < 17 else [])
""",
            "balance": """
def balance(model, size):
    return 260, 737
""",
        },
        {"test_find": 0, "test_idle": 0, "test_balance": 0},
    ),
}
