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
