import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from graphengine.diffusion import Memory
from graphengine.diffusion.memory import Remarks, is_out_of_memory
from graphengine.diffusion.types import Weights
from graphengine.errors import Cancelled
from graphengine.resource import Progress

SIZE = 400


def weights(name):
    return Weights(Path("checkpoint") / name, name)


class Loads:
    """Loads 400 bytes for anything and writes down what."""

    def __init__(self):
        self.names = []

    def __call__(self, weights, dtype):
        self.names.append(weights.digest)
        return nn.Linear(10, 10, bias=False)


@pytest.fixture
def load():
    return Loads()


def test_weights_are_loaded_once_and_shared_by_content(load):
    memory = Memory(load=load)
    with memory.use(weights("a")) as one, memory.use(Weights(Path("elsewhere"), "a")) as other:
        assert one is other
    with memory.use(weights("a")):
        pass
    assert load.names == ["a"]
    assert memory.used == SIZE


def test_over_budget_the_least_recently_used_goes(load):
    memory = Memory(load=load, budget=2 * SIZE)
    for name in ("a", "b", "a", "c"):
        with memory.use(weights(name)):
            assert memory.used <= 2 * SIZE
    with memory.use(weights("a")):
        pass
    assert load.names == ["a", "b", "c"]
    with memory.use(weights("b")):
        pass
    assert load.names == ["a", "b", "c", "b"]


def test_room_for_the_work_counts_too(load):
    memory = Memory(load=load, budget=3 * SIZE)
    for name in ("a", "b"):
        with memory.use(weights(name)):
            pass
    with memory.use(weights("c"), working=2 * SIZE):
        assert memory.used == SIZE


def test_weights_in_use_stay(load):
    memory = Memory(load=load, budget=SIZE)
    with memory.use(weights("a")), memory.use(weights("b")):
        assert memory.used == 2 * SIZE
        assert memory.free() == 0
    assert memory.free() == 2 * SIZE


def test_threads_share(load):
    memory = Memory(load=load, budget=2 * SIZE)
    seen, barrier = [], threading.Barrier(8)

    def work(number):
        barrier.wait()
        for turn in range(50):
            with memory.use(weights("abcd"[(number + turn) % 4])) as module:
                seen.append(module(torch.ones(10)).shape)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 400
    assert memory.free() <= 4 * SIZE
    assert memory.used == 0


def test_a_failed_load_leaves_nothing(load):
    def broken(weights, dtype):
        raise OSError("gone")

    memory = Memory(load=broken)
    with pytest.raises(OSError, match="gone"), memory.use(weights("a")):
        pass
    assert memory.used == 0


def test_loading_is_told_and_can_be_cancelled(load):
    class Impatient(Progress):
        def report(self, done, total, note="", preview=None, **figures):
            assert note == "loading checkpoint/a"
            raise Cancelled

    with pytest.raises(Cancelled), Memory(load=load).use(weights("a"), progress=Impatient()):
        pass
    assert load.names == []


def test_a_load_that_runs_out_frees_and_tries_again(load):
    tries = []

    def tight(weights, dtype):
        tries.append(weights.digest)
        if weights.digest == "b" and tries.count("b") == 1:
            raise torch.OutOfMemoryError("out of memory")
        return load(weights, dtype)

    memory = Memory(load=tight)
    with memory.use(weights("a")):
        pass
    with memory.use(weights("b")):
        assert memory.used == SIZE
    assert tries == ["a", "b", "b"]


@dataclass
class Hungry:
    """Runs out of memory on the first `times` calls."""

    times: int
    calls: int = 0

    def __call__(self, value):
        self.calls += 1
        if self.calls <= self.times:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")
        return value


def test_the_ladder_tries_again_then_steps_down_and_stays_there():
    told = []
    whole, tiles = Hungry(3), Hungry(1)
    run = Memory().ladder([("whole", whole), ("tiles", tiles)], told.append)
    assert run(5) == 5
    assert (whole.calls, tiles.calls, told) == (2, 2, ["out of memory with whole: now tiles"])
    assert run(6) == 6
    assert (whole.calls, tiles.calls) == (2, 3)


def test_one_retry_may_be_enough():
    told = []
    whole = Hungry(1)
    assert Memory().ladder([("whole", whole), ("tiles", Hungry(0))], told.append)(5) == 5
    assert (whole.calls, told) == (2, [])


def test_the_ladder_ends():
    with pytest.raises(RuntimeError, match="not enough memory"):
        Memory().ladder([("whole", Hungry(9)), ("tiles", Hungry(9))], lambda text: None)(5)


def test_other_errors_pass():
    def broken(value):
        raise RuntimeError("shape")

    assert not is_out_of_memory(RuntimeError("shape"))
    with pytest.raises(RuntimeError, match="shape"):
        Memory().ladder([("whole", broken), ("tiles", broken)], lambda text: None)(5)


def test_remarks_stay_in_every_report():
    class Listener(Progress):
        def __init__(self):
            self.told = []

        def report(self, done, total, note="", preview=None, **figures):
            self.told.append((done, total, note))

    listener = Listener()
    remarks = Remarks(listener)
    remarks.report(1, 4, note="step")
    remarks.remark("tiles")
    remarks.report(2, 4, note="step")
    assert listener.told == [(1, 4, "step"), (1, 4, "tiles"), (2, 4, "step; tiles")]


def test_dtype_and_device():
    assert Memory().dtype == torch.float32
    assert Memory(dtype="bfloat16").dtype == torch.bfloat16
    assert Memory(device="cuda").dtype is None
    assert Memory(device="auto").device in ("cpu", "cuda", "mps")
