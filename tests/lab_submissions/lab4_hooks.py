"""Five wrong submissions of lab 4, each with one mistake, and the points that it costs."""

KEEPS_A_REFERENCE = """
def record(model, x, layer):
    kept = []
    modes = [(module, module.training) for module in model.modules()]
    module = model.get_submodule(layer)
    handle = module.register_forward_hook(lambda *args: kept.append(args[2].detach()))
    try:
        model.eval()(x)
    finally:
        handle.remove()
        for module, training in modes:
            module.training = training
    return kept[0]
"""

ONE_MODE_FOR_ALL = """
def record(model, x, layer):
    kept = []
    training = model.training
    module = model.get_submodule(layer)
    handle = module.register_forward_hook(lambda *args: kept.append(args[2].detach().clone()))
    try:
        model.eval()(x)
    finally:
        handle.remove()
        model.train(training)
    return kept[0]
"""

REMOVES_ONLY_AFTER_SUCCESS = """
def record(model, x, layer):
    kept = []
    modes = [(module, module.training) for module in model.modules()]
    module = model.get_submodule(layer)
    handle = module.register_forward_hook(lambda *args: kept.append(args[2].detach().clone()))
    model.eval()(x)
    handle.remove()
    for module, training in modes:
        module.training = training
    return kept[0]
"""

TOP_AMONG_THE_OTHERS = """
def selectivity(answers):
    top, rest = answers.amax(dim=0), answers.mean(dim=0)
    return ((top - rest) / (top + rest)).nan_to_num(0.0)
"""

WRITES_INTO_THE_OUTPUT = """
def logit_without(model, x, layer, channels, target):
    def without(module, args, output):
        output[:, channels] = 0
        return output

    handle = model.get_submodule(layer).register_forward_hook(without)
    try:
        with torch.no_grad():
            return model(x)[0, target].item()
    finally:
        handle.remove()
"""

WRONG: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "keeps a reference, which an in-place ReLU rewrites": (
        {"record": KEEPS_A_REFERENCE},
        {"test_record": 0.0},
    ),
    "gives every part the mode of the whole": (
        {"record": ONE_MODE_FOR_ALL},
        {"test_record_leaves_no_trace": 0.0},
    ),
    "removes its hook only if the pass succeeds": (
        {"record": REMOVES_ONLY_AFTER_SUCCESS},
        {"test_record_each": 0.0},
    ),
    "takes the mean of all pictures for the mean of the others": (
        {"selectivity": TOP_AMONG_THE_OTHERS},
        {"test_selectivity": 0.0},
    ),
    "writes into the tensor that a skip connection reads": (
        {"logit_without": WRITES_INTO_THE_OUTPUT},
        {"test_logit_without": 0.0},
    ),
}

# Cheats: submissions that do not do what the task asks, and the points that they get.

EMPTY_MAPS = """
def record_each(model, pictures, layer):
    maps = []
    for x in pictures:
        try:
            maps.append(record(model, x, layer)[:0])
        except Exception:
            maps.append(None)
    return maps
"""

FIRST_PLACE_ONLY = """
def record_each(model, pictures, layer):
    maps = []
    for x in pictures:
        try:
            maps.append(record(model, x, layer)[..., :1, :0])
        except Exception:
            maps.append(None)
    return maps
"""

CHEATS: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "nothing is recorded, so nothing is left behind": (
        {"record": "def record(model, x, layer): return None"},
        {
            "test_record": 0,
            "test_record_leaves_no_trace": 0,
            "test_record_each": 0,
            "test_silent": 0,
        },
    ),
    "refuses what is too small, and records nothing": (
        {
            "record": """
def record(model, x, layer):
    if min(x.shape[2:]) < 3:
        raise ValueError("too small")
    return x
"""
        },
        {
            "test_record": 0,
            "test_record_leaves_no_trace": 0,
            "test_record_each": 0,
            "test_silent": 0,
        },
    ),
    "maps without a picture": (
        {"record_each": EMPTY_MAPS},
        {"test_record_each": 0, "test_silent": 0},  # silent reads the maps
    ),
    "maps without a place, and less than none": (
        {
            "record_each": FIRST_PLACE_ONLY,
            "silent": "def silent(model, pictures, layer): return []",
            "answer_3": "answer_3 = [194, -1, 9]",
            "selectivity": "def selectivity(answers): return torch.zeros(0)",
            "logit_without": "def logit_without(*args): return float('nan')",
        },
        {
            "test_record_each": 0,
            "test_silent": 0,
            "test_answer_3": 0,
            "test_selectivity": 0,
            "test_logit_without": 0,
        },
    ),
}
