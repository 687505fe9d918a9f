"""The workloads of workloads.rs on CPython's concurrent.futures; standard library only.

    python3 tests/bench/concurrent_futures.py [--quick] [FILTER]...   prints the table
    cargo bench -- --python python3                                  prints both, round by round
    python3 tests/bench/concurrent_futures.py --serve                 is what that command talks to
"""

import multiprocessing
import os
import platform
import sys
import threading
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from statistics import quantiles
from time import perf_counter_ns

NAME = f"CPython {platform.python_version()}"


def fan_out(pool, tasks):
    """Submits all tasks, then collects all results."""
    start = perf_counter_ns()
    check(sum(future.result() for future in submit_all(pool, range(tasks))), tasks)
    return per_task(start, tasks)


def ping_pong(pool, tasks):
    """Submits one task and waits for it, then the next."""
    start = perf_counter_ns()
    check(sum(pool.submit(lambda i=i: i).result() for i in range(tasks)), tasks)
    return per_task(start, tasks)


def producers(pool, tasks):
    """Four threads share the tasks, and submit and collect at the same time."""
    start = perf_counter_ns()
    sums = [0] * 4

    def produce(number):
        share = range(number * tasks // 4, (number + 1) * tasks // 4)
        sums[number] = sum(future.result() for future in submit_all(pool, share))

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(sum(sums), tasks)
    return per_task(start, tasks)


def completed(pool, tasks):
    """Takes the results in the order in which they finish."""
    start = perf_counter_ns()
    futures = as_completed(submit_all(pool, range(tasks)))
    check(sum(future.result() for future in futures), tasks)
    return per_task(start, tasks)


def wait_first_completed(_, tasks):
    """Waits for none of the tasks, all of which are pending."""
    with ThreadPoolExecutor(1) as pool, Blocked(pool):
        start = perf_counter_ns()
        waited = wait(submit_all(pool, range(tasks)), 0, FIRST_COMPLETED)
        figure = per_task(start, tasks)
        assert len(waited.not_done) == tasks
    return figure


def wait_first_exception(pool, tasks):
    return wait_for_all(pool, tasks, FIRST_EXCEPTION)


def wait_all_completed(pool, tasks):
    return wait_for_all(pool, tasks, ALL_COMPLETED)


def wait_for_all(pool, tasks, return_when):
    """Submits all tasks, then waits for all of them; none fails."""
    start = perf_counter_ns()
    waited = wait(submit_all(pool, range(tasks)), None, return_when)
    figure = per_task(start, tasks)
    assert len(waited.done) == tasks
    return figure


def map_(pool, tasks):
    """Maps all items and takes all results."""
    start = perf_counter_ns()
    check(sum(pool.map(lambda i: i, range(tasks))), tasks)
    return per_task(start, tasks)


def cancel(_, tasks):
    """Cancels every task behind a busy worker."""
    with ThreadPoolExecutor(1) as pool, Blocked(pool):
        futures = submit_all(pool, range(tasks))
        start = perf_counter_ns()
        cancelled = sum(future.cancel() for future in futures)
        figure = per_task(start, tasks)
        assert cancelled == tasks
    return figure


def shutdown_cancel(_, tasks):
    """Shuts a pool down with every task still queued behind a busy worker, and cancels them so."""
    with ThreadPoolExecutor(1) as pool, Blocked(pool):
        futures = submit_all(pool, range(tasks))
        start = perf_counter_ns()
        pool.shutdown(wait=False, cancel_futures=True)
        figure = per_task(start, tasks)
        assert all(future.cancelled() for future in futures)
    return figure


def real_work(pool, tasks):
    """Maps a function that computes and shares nothing."""
    start = perf_counter_ns()
    assert sum(pool.map(lambda _: collatz_steps(5_000), range(tasks))) == 387_968 * tasks
    return per_task(start, tasks)


def collatz_steps(limit):
    """How many steps the numbers up to limit take to reach 1, together."""
    steps = 0
    for number in range(1, limit + 1):
        while number != 1:
            number = number // 2 if number % 2 == 0 else 3 * number + 1
            steps += 1
    return steps


def memory(_, tasks):
    """The resident bytes of a queued task, its future included; right in a new process only."""
    with ThreadPoolExecutor(1) as pool:
        with Blocked(pool):
            before = resident_bytes()
            futures = submit_all(pool, range(tasks))
            after = resident_bytes()
        check(sum(future.result() for future in futures), tasks)
    return (after - before) / tasks


# What a process pool does, whose workers are started by `spawn`.

def same(number):
    return number


def new_process_pool(workers):
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))


def process_fan_out(pool, tasks):
    start = perf_counter_ns()
    futures = [pool.submit(same, number) for number in range(tasks)]
    check(sum(future.result() for future in futures), tasks)
    return per_task(start, tasks)


def process_ping_pong(pool, tasks):
    start = perf_counter_ns()
    check(sum(pool.submit(same, number).result() for number in range(tasks)), tasks)
    return per_task(start, tasks)


def process_map(pool, tasks):
    start = perf_counter_ns()
    check(sum(pool.map(same, range(tasks), chunksize=256)), tasks)
    return per_task(start, tasks)


def process_first_map(pool, tasks):
    with new_process_pool(pool._max_workers) as fresh:
        return process_map(fresh, tasks)


def to_and_fro(pool, tasks, length):
    """Bytes that are sent and come back, one call at a time."""
    sent = bytes(length)
    start = perf_counter_ns()
    for _ in range(tasks):
        assert len(pool.submit(same, sent).result()) == length
    return per_task(start, tasks)


def start_and_shutdown(pool, lives):
    """From a new pool to its first result, and then through `shutdown`."""
    started = shut_down = 0
    for number in range(lives):
        start = perf_counter_ns()
        fresh = new_process_pool(pool._max_workers)
        assert fresh.submit(same, number).result() == number
        middle = perf_counter_ns()
        fresh.shutdown()
        started += middle - start
        shut_down += perf_counter_ns() - middle
    return started / lives, shut_down / lives


def process_memory(pool, _):
    """The private bytes of a worker that has run one call, and waits for the next."""
    with new_process_pool(pool._max_workers) as fresh:
        fresh.submit(same, 1).result()
        with open(f"/proc/{next(iter(fresh._processes))}/smaps_rollup") as smaps:
            return sum(int(line.split()[1]) * 1024 for line in smaps if line.startswith("Private_"))


PROCESS_WORKLOADS = {
    "process-fan-out": process_fan_out,
    "process-ping-pong": process_ping_pong,
    "process-map": process_map,
    "process-first-map": process_first_map,
    "process-1-mb": lambda pool, tasks: to_and_fro(pool, tasks, 1_000_000),
    "process-100-mb": lambda pool, tasks: to_and_fro(pool, tasks, 100_000_000),
    "process-start": lambda pool, lives: start_and_shutdown(pool, lives)[0],
    "process-shutdown": lambda pool, lives: start_and_shutdown(pool, lives)[1],
    "process-memory": process_memory,
}

WORKLOADS = {
    "fan-out": fan_out,
    "ping-pong": ping_pong,
    "producers": producers,
    "completed": completed,
    "wait-first-completed": wait_first_completed,
    "wait-first-exception": wait_first_exception,
    "wait-all-completed": wait_all_completed,
    "map": map_,
    "cancel": cancel,
    "shutdown-cancel": shutdown_cancel,
    "real-work": real_work,
    "memory": memory,
}


def resident_bytes():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024


def submit_all(pool, numbers):
    return [pool.submit(lambda i=i: i) for i in numbers]


def check(total, tasks):
    assert total == tasks * (tasks - 1) // 2, "a result was lost"


def per_task(start, tasks):
    return (perf_counter_ns() - start) / tasks


class Blocked:
    """Keeps the worker of a pool busy, so that what is submitted stays queued."""

    def __init__(self, pool):
        started, self.opened = threading.Event(), threading.Event()
        pool.submit(lambda: (started.set(), self.opened.wait()))
        started.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.opened.set()


def serve():
    """Reads `WORKLOAD WORKERS TASKS`, prints the figure."""
    pools, process_pools = {}, {}
    print(NAME, flush=True)
    for line in sys.stdin:
        workload, workers, tasks = line.split()
        if workload in PROCESS_WORKLOADS:
            pool = process_pools.setdefault(workers, new_process_pool(int(workers)))
            print(PROCESS_WORKLOADS[workload](pool, int(tasks)), flush=True)
        else:
            pool = pools.setdefault(workers, ThreadPoolExecutor(int(workers)))
            print(WORKLOADS[workload](pool, int(tasks)), flush=True)


def table(quick, filters):
    rounds, tasks = (3, 2_000) if quick else (5, 10_000)
    sizes = (1_000, 10_000) if quick else (10_000, 100_000)
    print(f"{os.cpu_count()} cores, {platform.machine()} {platform.system().lower()}\n")
    row = "{:<16} {:<28} {:<20} {:>8} {:>10} {:>10} {:>10} {:>10}  {}"
    print(row.format("measure", "case", "who", "tasks", "min", "quarter", "median", "3 quarters", "unit"))

    def measure(name, case, workload, workers, tasks, unit="ns/task", rounds=rounds):
        if filters and not any(part in f"{name} {case}" for part in filters):
            return
        with ThreadPoolExecutor(workers) as pool:
            figures = sorted(WORKLOADS[workload](pool, tasks) for _ in range(rounds))
        quarters = quantiles(figures, method="inclusive") if rounds > 1 else figures * 3
        shown = (f"{figure:.1f}" for figure in (figures[0], *quarters))
        print(row.format(name, case, NAME, tasks, *shown, unit), flush=True)

    for workload in ("fan-out", "ping-pong", "producers", "completed"):
        for workers in (2, 8):
            count = tasks // 20 if workload == "ping-pong" else tasks
            measure(workload, f"{workers} workers", workload, workers, count)
    for case, workload in (
        ("submit and collect", "fan-out"),
        ("wait, FIRST_COMPLETED", "wait-first-completed"),
        ("wait, FIRST_EXCEPTION", "wait-first-exception"),
        ("wait, ALL_COMPLETED", "wait-all-completed"),
        ("as_completed", "completed"),
        ("map", "map"),
        ("cancel all", "cancel"),
        ("shutdown, cancel_futures", "shutdown-cancel"),
    ):
        for size in sizes:
            measure("growth", case, workload, 2, size, rounds=3)
    for workers in (1, 2):
        case = f"{workers} worker{'s' * (workers > 1)}"
        measure("real work", case, "real-work", workers, 10)
    with new_process_pool(2) as pool:
        for workload, run in PROCESS_WORKLOADS.items():
            count = {"1-mb": 10, "100-mb": 1, "start": 2, "shutdown": 2, "memory": 1}
            count = count.get(workload.removeprefix("process-"), tasks // 5)
            if not filters or any(part in f"processes {workload}" for part in filters):
                figures = sorted(run(pool, count) for _ in range(rounds))
                quarters = quantiles(figures, method="inclusive")
                shown = (f"{figure:.1f}" for figure in (figures[0], *quarters))
                print(row.format("processes", workload, NAME, count, *shown, "ns/task"), flush=True)
    # By now, memory comes from what was freed before; only a new process tells the truth.
    if filters and any(part in "memory queued" for part in filters):
        measure("memory", "queued", "memory", 1, 10 * tasks, "bytes/task", rounds=1)


if __name__ == "__main__":
    flags = {argument for argument in sys.argv[1:] if argument.startswith("--")}
    if flags - {"--quick", "--serve"}:
        sys.exit(__doc__)
    if "--serve" in flags:
        serve()
    else:
        table("--quick" in flags, [argument for argument in sys.argv[1:] if argument not in flags])
