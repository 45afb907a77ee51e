"""Whose turn it is: priority, ageing, shares of users and invocations."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from builder.schedule.fair import LOOK_PAST, FairQueue
from builder.schedule.policy import Policy
from builder.schedule.shares import MOST, Shares
from builder.schedule.spec import Client
from builder.schedule.task import Task
from tests.schedule.kit import FAILED, Story, spec
from tests.schedule.test_queue import calls

AGE_S = 10.0


def user_of(task: Task) -> str:
    assert task.share.parent is not None
    return task.share.parent.name


class Line:
    """A queue of its own, with the books that its tasks need. One step of priority is 10 s."""

    def __init__(self, **weights: float) -> None:
        self.queue = FairQueue()
        self.shares = Shares(weights)
        self.count = 0

    def add(self, user: str, invocation: str = "", priority: int = 0, at: float = 0.0) -> Task:
        self.count += 1
        share = self.shares.of(Client(user=user, invocation=invocation))
        order_s = at + priority * AGE_S
        name = f"{user}{invocation}{self.count}"
        task = Task(name, spec(name), 1, share, self.count, at, order_s, priority)
        share.wait()
        self.queue.push(task)
        return task

    def take(self, now: float = 0.0, cost: float = 1.0) -> Task:
        task = self.queue.take(now + self.queue.urgent * AGE_S, lambda _: True)
        assert task is not None
        task.share.leave()
        task.share.start(task.id, cost)
        return task

    def users(self, turns: int, now: float = 0.0) -> Counter[str]:
        return Counter(user_of(self.take(now)) for _ in range(turns))


def test_users_take_turns_whatever_each_asks_for() -> None:
    """A thousand actions asked for first do not hold up another user's ten."""
    line = Line()
    for _ in range(1000):
        line.add("many")
    for _ in range(10):
        line.add("few", at=1.0)
    assert line.users(20, now=1.0) == {"many": 10, "few": 10}


def test_weights_divide_what_there_is() -> None:
    """Three parts to one, over any stretch."""
    line = Line(ci=3.0)
    for user in ("ci", "me"):
        for _ in range(400):
            line.add(user)
    for _ in range(5):
        assert line.users(40) == {"ci": 30, "me": 10}


def test_invocations_divide_the_share_of_their_user() -> None:
    """Who starts five builds at once gets no more than who starts one."""
    line = Line()
    for invocation in "abcde":
        for _ in range(100):
            line.add("greedy", invocation)
    for _ in range(100):
        line.add("modest", "x")
    assert line.users(100) == {"greedy": 50, "modest": 50}
    rest = Counter(line.take().share.name for _ in range(50))
    assert {rest[invocation] for invocation in "abcde"} == {5}


def test_long_actions_cost_more_than_short_ones() -> None:
    """A turn is paid in seconds of a slot, so users share time and not starts."""
    line = Line()
    for user in ("long", "short"):
        for _ in range(300):
            line.add(user)
    turns = Counter[str]()
    for _ in range(100):
        task = line.queue.take(0.0, lambda _: True)
        assert task is not None
        task.share.leave()
        task.share.start(task.id, 3.0 if user_of(task) == "long" else 1.0)
        turns[user_of(task)] += 1
    assert turns == {"long": 25, "short": 75}


def test_idling_saves_nothing_up() -> None:
    """Who comes back starts with the others."""
    line = Line()
    for _ in range(200):
        line.add("busy")
    line.add("back")
    line.users(100)
    for _ in range(50):
        line.add("back")
    assert line.users(20)["back"] in (10, 11)


def test_the_most_urgent_go_first_whoever_asks() -> None:
    """A lower priority number is sooner, for users too who had turns already."""
    line = Line()
    for _ in range(5):
        line.add("a")
    for _ in range(5):
        line.add("a", priority=-1)
    line.add("b")
    assert [line.take().priority for _ in range(11)] == [-1] * 5 + [0] * 6


def test_who_has_waited_long_enough_is_as_urgent() -> None:
    """Ten seconds for each step; then shares decide, and nobody starves."""
    line = Line()
    line.add("patient", priority=2)
    for _ in range(10):
        line.add("urgent", at=15.0)
    assert line.users(3, now=19.9) == {"urgent": 3}
    assert line.users(1, now=20.0) == {"patient": 1}


def test_an_urgent_action_is_not_held_up_by_a_long_wait_of_others() -> None:
    """What has aged is an equal of what is urgent, and no more than that."""
    line = Line()
    for _ in range(1000):
        line.add("backlog")
    line.users(10)
    line.add("me", priority=-5, at=5000.0)
    assert line.users(2, now=5000.0) == {"me": 1, "backlog": 1}


def test_passing_over_is_bounded() -> None:
    """A few that do not suit are passed over; after them the first is taken all the same."""
    line = Line()
    for _ in range(LOOK_PAST + 1):
        line.add("u")
    last = line.queue.take(0.0, lambda one: one.sequence == 4)
    assert last is not None
    assert last.sequence == 4
    first = line.queue.take(0.0, lambda _: False)
    assert first is not None
    assert first.sequence == 1
    assert line.queue.take(0.0, lambda _: False) is None
    assert len(line.queue) == LOOK_PAST - 1


STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 2), st.integers(-3, 3)),
    max_size=200,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_no_task_is_lost_and_none_is_taken_out_of_turn(
    steps: list[tuple[int, int, int, int]],
) -> None:
    """What is taken is ripe, of a user with the lowest tag among those with something ripe."""
    line = Line(u1=2.0)
    waiting: list[Task] = []
    now = 0.0
    for kind, user, invocation, priority in steps:
        now += 1.5
        if kind < 3:
            waiting.append(line.add(f"u{user}", f"i{invocation}", priority, now))
        elif kind == 3 and waiting:
            task = waiting.pop(user % len(waiting))
            line.queue.remove(task)
            task.share.leave()
        elif waiting:
            limit_s = now + min(task.priority for task in waiting) * AGE_S
            ripe = [task for task in waiting if task.order_s <= limit_s]
            lowest = min(task.share.parent.tag for task in ripe if task.share.parent)
            flows = [t for t in ripe if t.share.parent and t.share.parent.tag == lowest]
            taken = line.take(now, cost=1.0 + user)
            assert taken in flows
            waiting.remove(taken)
        assert {task.sequence for task in line.queue} == {task.sequence for task in waiting}
        assert len(line.queue) == len(waiting)
    while waiting:
        waiting.remove(line.take(now))
    assert line.queue.take(now, lambda _: True) is None


def test_a_turn_costs_the_same_however_many_users_wait() -> None:
    """A heap's depth, no more: for 10 users and for 1,000 with two builds each."""

    def cost(users: int) -> int:
        line = Line()
        for number in range(users * 4):
            line.add(f"u{number % users}", f"i{number % 2}")
        line.users(users)
        return calls(lambda: [line.take() for _ in range(10)])

    assert cost(1000) <= cost(10) * 1.3


def test_users_who_left_are_forgotten() -> None:
    """Names that a client makes up cost memory for a while only."""
    line = Line()
    for number in range(MOST + 10):
        line.add(f"u{number}")
        task = line.take()
        task.share.settle(task.id, 0.0)
    assert len(line.shares.root.children) <= 11
    assert not line.queue._flows


def test_slots_go_by_shares_over_all_platforms() -> None:
    """The machine: two users with long queues get a worker's slot in turns."""
    story = Story(Policy(shares={"ci": 2.0}))
    story.connect("w")
    for number in range(30):
        story.submit(f"ci{number}", user="ci")
        story.submit(f"me{number}", user="me")
    order = story.drain_queue("w", cost_s=1.0)
    first = Counter(name[:2] for name in order[:30])
    assert first["ci"] in range(19, 22)
    assert len(order) == 60


def test_a_merged_action_is_pulled_forward_within_its_flow() -> None:
    """An urgent client that joins a waiting action makes it urgent."""
    story = Story()
    story.connect("w")
    for name in ("running", "a", "b", "c"):
        story.submit(name)
    story.submit("urgent", "c", priority=-1, user="somebody")
    assert story.finish("w", "running/1", FAILED)[2] == "w gets c/1"


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.floats(0.1, 9.0)), max_size=40))
def test_passing_by_is_to_wait_for_no_time(steps: list[tuple[int, int, float]]) -> None:
    """Whoever is served at once pays as those do who were in the queue before."""
    queued, passing = Shares({"u1": 3.0}), Shares({"u1": 3.0})
    for number, (user, build, cost) in enumerate(steps):
        client = Client(user=f"u{user}", invocation=f"b{build}")
        one, other = queued.of(client), passing.of(client)
        one.wait()
        one.leave()
        other.pass_by()
        for share in (one, other):
            share.start(f"{number}", cost)
        pairs = ((one, other), (one.parent, other.parent))
        assert all((a.tag, a.clock, a.waiting) == (b.tag, b.clock, b.waiting) for a, b in pairs)
