"""Five wrong submissions of lab 6, each with one mistake, and the points that it costs."""

FILLS_GRAD = """
def gradient(model, x, target):
    leaf = x.detach().clone().requires_grad_()
    model(leaf)[:, target].sum().backward()
    return leaf.grad
"""

OTHER_LOGITS_STAND_STILL = """
def probability_gradient(logits, gradients, target):
    p = logits.softmax(dim=0)[target]
    return p * (1 - p) * gradients[target]
"""

EVERY_RELU_NETWORK = 'answer_3 = ["A", "B", "D", "E", "F"]'

ENDS_OF_THE_STEPS = """
def integrated_gradients(model, x, baseline, target, steps):
    total = torch.zeros_like(x)
    for k in range(1, steps + 1):
        total += gradient(model, baseline + k / steps * (x - baseline), target)
    return ((x - baseline) * total / steps).sum(dim=1)[0]
"""

TIMES_THE_INPUT = """
def integrated_gradients(model, x, baseline, target, steps):
    total = torch.zeros_like(x)
    for k in range(steps):
        point = baseline + (k + 0.5) / steps * (x - baseline)
        total += gradient(model, point, target)
    return (x * total / steps).sum(dim=1)[0]
"""

WRONG: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "fills the parameters' grad": (
        {"gradient": FILLS_GRAD},
        {"test_gradient_leaves_no_trace": 0.0},
    ),
    "takes p (1 - p) times the own gradient": (
        {"probability_gradient": OTHER_LOGITS_STAND_STILL},
        {"test_probability_gradient": 0.0},
    ),
    "believes that shares add up wherever there is a ReLU": (
        {"answer_3": EVERY_RELU_NETWORK},
        {"test_answer_3": 0.0},
    ),
    "asks at the end of each step": (
        {"integrated_gradients": ENDS_OF_THE_STEPS},
        {"test_integrated_gradients": 0.0},
    ),
    "multiplies by the input, not by the way": (
        {"integrated_gradients": TIMES_THE_INPUT},
        {"test_integrated_gradients": 0.0},
    ),
}

# Cheats: submissions that do not do what the task asks, and the points that they get.

BY_AUTOGRAD = """
def probability_gradient(logits, gradients, target):
    z = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(z.softmax(dim=0)[target], z)
    return (slope[:, None, None, None] * gradients).sum(dim=0)
"""

BY_FORWARD_MODE = """
def probability_gradient(logits, gradients, target):
    slope = torch.func.jacfwd(lambda z: z.softmax(dim=0)[target])(logits)
    return (slope[:, None, None, None] * gradients).sum(dim=0)
"""

ASKS_THE_INPUT_ITSELF = """
def gradient(model, x, target):
    x.requires_grad_()
    return torch.autograd.grad(model(x)[:, target].sum(), x)[0]
"""

CHEATS: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "no gradient, so nothing is left behind": (
        {"gradient": "def gradient(model, x, target): return None"},
        {
            "test_gradient": 0,
            "test_gradient_leaves_no_trace": 0,
            "test_times_input": 0,
            "test_integrated_gradients": 0,
        },
    ),
    "autograd differentiates the softmax; the input itself asks for gradients": (
        {"probability_gradient": BY_AUTOGRAD, "gradient": ASKS_THE_INPUT_ITSELF},
        {"test_probability_gradient": 0, "test_gradient_leaves_no_trace": 0},
    ),
    "forward-mode autograd; every network, shares that are all zero": (
        {
            "probability_gradient": BY_FORWARD_MODE,
            "answer_3": 'answer_3 = list("ABCDEF")',
            "times_input": "def times_input(model, x, target): return x.sum() * 0",
            "integrated_gradients": "def integrated_gradients(*args): return torch.zeros(0, 2)",
            "net_and_gross": "def net_and_gross(shares, region): return float('nan'), float('nan')",
        },
        {
            "test_probability_gradient": 0,
            "test_answer_3": 0,
            "test_times_input": 0,
            "test_integrated_gradients": 0,
            "test_net_and_gross": 0,
        },
    ),
}
