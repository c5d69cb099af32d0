"""Updates of one pair after the other, compiled by numba.

`recsys.kernels` describes the method and imports this module where numba is installed. A pair draws
its candidates, compares them with its positive, and moves the rows that have a gradient before the
next pair is read. No loop both stores and sums: the compiler would guard it by a comparison of
addresses, and the order of the sum would depend on them.
"""

from __future__ import annotations

import math

import numpy as np

from recsys.kernels import arguments
from recsys.kernels.arguments import Candidates, Cell, Rules, Scratch, Tables
from recsys.kernels.candidates import candidates_of
from recsys.kernels.counter import compiled

__all__ = ["train_cell"]


@compiled
def _score(
    user: np.ndarray, row: int, vector: int, item: np.ndarray, other: int, euclidean: bool | None
) -> np.float32:
    """Return the similarity of one vector of a user and an item."""
    total = np.float32(0)
    if euclidean is None:
        for k in range(item.shape[2]):
            total += user[row, vector, k] * item[other, 0, k]
    else:
        for k in range(item.shape[2]):
            apart = user[row, vector, k] - item[other, 0, k]
            total -= apart * apart
    return total


@compiled
def _best_score(
    user: np.ndarray,
    row: int,
    item: np.ndarray,
    other: int,
    count: np.ndarray | None,
    euclidean: bool | None,
) -> tuple[np.float32, int]:
    """Return the similarity to the nearest vector of the user, and the vector's index."""
    best = _score(user, row, 0, item, other, euclidean)
    winner = 0
    if count is not None:
        for c in range(1, count[row]):
            score = _score(user, row, c, item, other, euclidean)
            if score > best:
                best = score
                winner = c
    return best, winner


@compiled
def _swap(values: np.ndarray, i: int, j: int) -> None:
    kept = values[i]
    values[i] = values[j]
    values[j] = kept


@compiled
def _keep_hardest(
    keep: int, number: int, items: np.ndarray, scores: np.ndarray, winners: np.ndarray
) -> int:
    """Move the `keep` candidates of the highest scores to the front, and return their number."""
    if keep >= number:
        return number
    for place in range(1, keep + 1):
        best = place
        for k in range(place + 1, number + 1):
            if scores[k] > scores[best]:
                best = k
        _swap(items, place, best)
        _swap(scores, place, best)
        _swap(winners, place, best)
    return keep


@compiled
def _sigmoid(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z))


@compiled
def _softplus(z: float) -> float:
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


@compiled
def _softmax_slopes(
    rules: Rules,
    log_q: np.ndarray,
    number: int,
    items: np.ndarray,
    scores: np.ndarray,
    slopes: np.ndarray,
) -> float:
    """Fill in the derivatives of log(1 + sum_k exp(z_k)) by the scores, and return its value."""
    top = 0.0
    for k in range(1, number + 1):
        z = (scores[k] - scores[0]) / rules.temperature
        if len(log_q):
            z += log_q[items[0]] - log_q[items[k]]
        slopes[k] = z
        top = max(top, z)
    total = math.exp(-top)
    for k in range(1, number + 1):
        slopes[k] = math.exp(slopes[k] - top)
        total += slopes[k]
    slopes[0] = 0.0
    for k in range(1, number + 1):
        slopes[k] /= total * rules.temperature
        slopes[0] -= slopes[k]
    return math.log(total) + top


@compiled
def _slopes_of(
    rules: Rules, factor: float, number: int, scores: np.ndarray, slopes: np.ndarray
) -> float:
    """Fill in the derivatives of the loss by the scores, and return the loss.

    Args:
        rules: loss and update.
        factor: weight of each negative in the loss.
        number: negatives.
        scores: of the positive and of the negatives, float32 [1 + number].
        slopes: filled in, float64 [1 + number].
    """
    pos = np.float64(scores[0])
    own = 0.0
    loss = 0.0
    for k in range(1, number + 1):
        neg = np.float64(scores[k])
        slope = 0.0
        if rules.kind == arguments.BPR:
            z = (neg - pos) / rules.temperature
            slope = _sigmoid(z) / rules.temperature
            own -= factor * slope
            loss += factor * _softplus(z)
        elif rules.kind == arguments.HINGE:
            z = rules.margin - pos + neg
            if z > 0:
                slope = 1.0
                own -= factor
                loss += factor * z
        elif rules.kind == arguments.BCE:
            slope = rules.weight * _sigmoid(neg)
            loss += factor * rules.weight * _softplus(neg)
        elif rules.kind == arguments.CCL:
            if neg > rules.margin:
                slope = rules.weight
                loss += factor * rules.weight * (neg - rules.margin)
        else:
            slope = 2 * rules.weight * neg
            loss += factor * rules.weight * neg * neg
        slopes[k] = factor * slope
    if rules.kind == arguments.BCE:
        own = -_sigmoid(-pos)
        loss += _softplus(-pos)
    elif rules.kind == arguments.CCL and pos < 1:
        own = -1.0
        loss += 1 - pos
    elif rules.kind == arguments.SQUARE:
        own = -2 * (1 - pos)
        loss += (1 - pos) * (1 - pos)
    slopes[0] = own
    return loss


@compiled
def _warp_weight(rules: Rules, n_items: int, number: int, scores: np.ndarray) -> float:
    """Return ln(rank + 1), the rank estimated from the share of negatives within the margin."""
    impostors = 0
    for k in range(1, number + 1):
        if np.float32(rules.margin) - scores[0] + scores[k] > 0:
            impostors += 1
    return math.log1p(math.floor(n_items * impostors / max(number, 1)))


@compiled
def _band_slopes(rules: Rules, user: np.ndarray, row: int, count: int, grad: np.ndarray) -> None:
    """Add the gradient of the diversity of a user's vectors (`recsys.nn.diversity`) to `grad`."""
    slope = 0.0
    share = rules.band_weight / (count * count)
    if rules.band == arguments.MEAN_OF_PAIRS:
        share = rules.band_weight / (2 * count * (count - 1))
        mean = 0.0
        for a in range(count):
            for b in range(a):
                mean += 2 * _apart(user, row, a, b)
        slope = _band_slope(rules, mean / (2 * count * (count - 1)))
    for a in range(count):
        for b in range(a):
            if rules.band == arguments.EACH_PAIR:
                slope = _band_slope(rules, _apart(user, row, a, b))
            if slope != 0:
                scale = np.float32(4 * share * slope)
                for k in range(user.shape[2]):
                    apart = scale * (user[row, a, k] - user[row, b, k])
                    grad[a, k] += apart
                    grad[b, k] -= apart


@compiled
def _apart(user: np.ndarray, row: int, first: int, second: int) -> float:
    """Return the squared distance of two vectors of a user."""
    total = np.float32(0)
    for k in range(user.shape[2]):
        apart = user[row, first, k] - user[row, second, k]
        total += apart * apart
    return np.float64(total)


@compiled
def _band_slope(rules: Rules, value: float) -> float:
    """Return the derivative of [low - x]+ + [x - high]+."""
    if rules.below and value < rules.low:
        return -1.0
    if rules.above and value > rules.high:
        return 1.0
    return 0.0


@compiled
def _add_gradients(
    user: np.ndarray,
    row: int,
    vector: int,
    item: np.ndarray,
    other: int,
    slope: np.float32,
    euclidean: bool | None,
    space: Scratch,
) -> None:
    """Add the gradient of one score to `space.grad`, and fill in that of the item.

    Args:
        user, row, vector: vectors of the users, row of the user, and which of its vectors.
        item, other: vectors of the items, and row of the item.
        slope: derivative of the loss by the score.
        euclidean: as in `Rules`.
        space: `grad` and `moved` are changed.
    """
    if euclidean is None:
        for k in range(item.shape[2]):
            space.moved[0, k] = slope * user[row, vector, k]
            space.grad[vector, k] += slope * item[other, 0, k]
    else:
        double = slope + slope
        for k in range(item.shape[2]):
            apart = double * (user[row, vector, k] - item[other, 0, k])
            space.moved[0, k] = apart
            space.grad[vector, k] -= apart


@compiled
def _move(
    table: np.ndarray,
    second: np.ndarray | None,
    row: int,
    grad: np.ndarray,
    lr: np.float32,
    eps: np.float32,
    l2: np.float32,
) -> None:
    """Update a row of a table by SGD or Adagrad; l2 times the row is added to its gradient."""
    for c in range(grad.shape[0]):
        if second is None:
            for k in range(grad.shape[1]):
                table[row, c, k] -= lr * (grad[c, k] + l2 * table[row, c, k])
        else:
            for k in range(grad.shape[1]):
                own = grad[c, k] + l2 * table[row, c, k]
                square = second[row, c, k] + own * own
                second[row, c, k] = square
                table[row, c, k] -= lr * (own / (np.sqrt(square) + eps))


@compiled
def _project(table: np.ndarray, row: int, space: int, radius: float) -> None:
    """Put the vectors of a row back into the ball, or onto the sphere."""
    for c in range(table.shape[1]):
        square = np.float32(0)
        for k in range(table.shape[2]):
            square += table[row, c, k] * table[row, c, k]
        norm = math.sqrt(square)
        if space == arguments.SPHERE or norm > radius:
            scale = np.float32(radius / max(norm, 1e-12))
            for k in range(table.shape[2]):
                table[row, c, k] *= scale


@compiled
def _count_of(count: np.ndarray | None, user: int) -> int:
    """Return the number of vectors of a user."""
    if count is None:
        return 1
    return count[user]


@compiled
def _update(tables: Tables, rules: Rules, user: int, number: int, space: Scratch) -> None:
    """Move the row of a user and the rows of the positive and of the negatives.

    Args:
        tables: the vectors and the state of Adagrad.
        rules: loss and update.
        user: row of the user.
        number: negatives.
        space: items, winners and slopes of the pair. An item that was drawn twice becomes -1.
    """
    lr = np.float32(rules.lr)
    eps = np.float32(rules.eps)
    l2 = np.float32(rules.l2)
    count = _count_of(tables.vectors, user)
    banded = rules.band != arguments.NO_BAND and count > 1
    moves = banded or rules.l2 != 0
    for k in range(number + 1):
        moves |= space.slopes[k] != 0
    if not moves:
        return
    for c in range(space.grad.shape[0]):
        for k in range(space.grad.shape[1]):
            space.grad[c, k] = 0
    if banded:
        _band_slopes(rules, tables.user, user, count, space.grad)
    for k in range(number + 1):
        item = space.items[k]
        if item < 0:
            continue
        slope = space.slopes[k]
        times = 1
        for other in range(k + 1, number + 1):  # an item that was drawn twice has one gradient
            if space.items[other] == item:
                slope += space.slopes[other]
                times += 1
                space.items[other] = -1
        if slope == 0 and rules.l2 == 0:
            continue
        _add_gradients(
            tables.user,
            user,
            space.winners[k],
            tables.item,
            item,
            np.float32(slope),
            rules.euclidean,
            space,
        )
        decay = l2 * np.float32(times)
        _move(tables.item, tables.item_second, item, space.moved, lr, eps, decay)
        if rules.item_space != arguments.FREE:
            _project(tables.item, item, rules.item_space, rules.radius)
    _move(tables.user, tables.user_second, user, space.grad, lr, eps, l2)
    if rules.user_space != arguments.FREE:
        _project(tables.user, user, rules.user_space, rules.radius)


@compiled
def train_cell(
    tables: Tables, given: Candidates, cell: Cell, rules: Rules, space: Scratch
) -> float:
    """Update the tables with every pair of a cell in turn, and return the sum of their losses."""
    items, scores = space.items, space.scores
    total = 0.0
    for n in range(len(cell.row)):
        user = cell.user[n]
        items[0] = cell.item[n]
        drawn = candidates_of(given, cell, cell.row[n], user, items)
        for k in range(drawn + 1):
            scores[k], space.winners[k] = _best_score(
                tables.user, user, tables.item, items[k], tables.vectors, rules.euclidean
            )
        factor = 1.0
        if rules.warp:
            factor = _warp_weight(rules, len(tables.item), drawn, scores)
        number = _keep_hardest(rules.keep, drawn, items, scores, space.winners)
        if rules.kind == arguments.SOFTMAX:
            total += _softmax_slopes(rules, given.log_q, number, items, scores, space.slopes)
        else:
            total += _slopes_of(rules, factor / max(number, 1), number, scores, space.slopes)
        _update(tables, rules, user, number, space)
    return total
