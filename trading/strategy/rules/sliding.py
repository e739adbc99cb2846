"""The extreme of the last so many values in constant time a bar."""

from trading.strategy.rules.compilation import Floats, inlined

HEADER = 3  # places in the state before the queue: values seen, head, length


@inlined
def sliding_extreme(state: Floats, start: int, width: int, value: float, sign: float) -> float:
    """Take a value in and return the largest (``sign`` 1) or smallest (−1) of the last ``width``.

    A queue of candidates, each better than all after it (Lemire, "Streaming maximum-minimum filter using no more than
    three comparisons per element", Nordic Journal of Computing 13, 2006). It fills ``2 * width`` places of the state
    from ``start + HEADER``: the value and the number of each candidate.
    """
    number = state[start]
    head = int(state[start + 1])
    length = int(state[start + 2])
    base = start + HEADER
    if length and state[base + 2 * head + 1] <= number - width:
        head = head + 1 if head + 1 < width else 0
        length -= 1
    while length:
        last = head + length - 1
        if last >= width:
            last -= width
        if sign * state[base + 2 * last] > sign * value:
            break
        length -= 1
    place = head + length
    if place >= width:
        place -= width
    state[base + 2 * place] = value
    state[base + 2 * place + 1] = number
    state[start] = number + 1.0
    state[start + 1] = head
    state[start + 2] = length + 1
    return state[base + 2 * head]
