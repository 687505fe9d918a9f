#!/usr/bin/env python3
"""Records what CPython's ProcessPoolExecutor does, as record.py does for threads.

    python3 tests/traces/record_processes.py --seed S --count N --out FILE

The workers are started by `spawn`. A task runs in one of them, and comes back over a socket for its
gates and its notes. Everything is at rest when the manager thread sleeps, and as many tasks wait at
gates as there are workers, or tasks. (So a task that does not end at once has a gate.)
"""

import gc
import multiprocessing
import os
import random
import selectors
import socket
import sys
import threading
import time
from concurrent import futures

import record
from record import ERRORS, LogHandler, asleep, panic, show_value


# ---- in a worker

def tell(port, line):
    """Says something to the recorder, and waits until it lets the task go on."""
    with socket.create_connection(('127.0.0.1', port)) as stream:
        stream.sendall(line.encode() + b'\n')
        stream.recv(1)


def run_there(task):
    port, who, body = task
    for action in body:
        match action:
            case ('return', value):
                return value
            case ('raise', name, text):
                raise ERRORS[name](text)
            case ('panic', text):
                raise panic(text)
            case ('exit', status):
                os._exit(status)
            case ('note',):
                tell(port, f'note {who}')
            case ('gate', name):
                tell(port, f'gate {name}')


# ---- performing actions

class Context(record.Context):
    def __init__(self, kind, type_name):
        super().__init__(kind, type_name)
        self.max_workers = 0
        self.manager = None
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(stream,), daemon=True).start()

    def answer(self, stream):
        with stream:
            what, name = stream.makefile().readline().split()
            if what == 'note':
                self.event(f'{name}: note')
            else:
                self.gates[name].reached = True
                self.gates[name].opened.wait()

    def task(self, who, body):
        there = [
            ('return', self.value(action[1])) if action[0] == 'return' else action for action in body
        ]
        return self.port, who, there

    def do_processes(self, max_workers):
        self.max_workers = max_workers
        self.pool = futures.ProcessPoolExecutor(max_workers, multiprocessing.get_context('spawn'))
        return '()'

    def do_submit(self, name, body):
        self.futures[name] = self.pool.submit(run_there, self.task(name, body))
        self.manager = self.pool._executor_manager_thread or self.manager
        return '()'

    def do_map(self, name, timeout, chunksize, *bodies):
        tasks = [self.task(f'{name}.{number}', body) for number, body in enumerate(bodies)]
        self.iterators[name] = self.pool.map(
            run_there, tasks, timeout=record.seconds(timeout), chunksize=chunksize
        )
        self.manager = self.pool._executor_manager_thread or self.manager
        return '()'

    def do_drop(self, name):
        if name == 'pool':
            self.pool = None
            gc.collect()
            return '()'
        return super().do_drop(name)

    def do_process_count(self):
        return str(len(self.pool._processes))

    def do_ended(self):
        """Waits until all processes have ended."""
        if self.manager is not None:
            self.manager.join()
        return 'all'

    def at_rest(self):
        for thread in list(self.threads.values()):
            if thread.is_alive() and not asleep(thread):
                return False
        if self.manager is None or not self.manager.is_alive():
            return True
        items = list(self.manager.pending_work_items.values())
        live = sum(not item.future.done() for item in items)
        return len(self.blocked_gates()) == min(self.max_workers, live) and self.manager_sleeps()

    def manager_sleeps(self):
        for _ in range(2):
            frame = sys._current_frames().get(self.manager.ident)
            if frame is None or frame.f_code.co_filename != selectors.__file__:
                return False
            try:
                if self.manager.thread_wakeup._reader.poll() or self.manager.result_queue._reader.poll():
                    return False
            except OSError:
                return False
            time.sleep(0.001)
        return True


# ---- scenarios

class Scenario(record.Scenario):
    def begin(self, kind, type_name=None):
        if type_name is None:
            type_name = self.rng.choice(['i32', 'i32', *record.TYPES])
        self.context = LogHandler.context = Context(kind, type_name)
        self.lines.append(f'scenario {self.index} {kind} {type_name}')
        self.names = []

    def processes(self, max_workers):
        self.do('processes', max_workers)

    def submit(self, body):
        name = self.fresh('p')
        if self.do('submit', name, body) == '()':
            self.names.append(name)
        return name

    def gated(self, end=None):
        gate = self.fresh('g')
        body = [('note',)] if self.rng.random() < 0.3 else []
        return self.submit([*body, ('gate', gate), end or self.end_of_body()]), gate

    def open_all(self):
        while gates := self.context.blocked_gates():
            self.do('open', self.rng.choice(sorted(gates)))

    def is_done(self, name):
        return self.context.futures[name].done()


def scenario_process_submit(s):
    """Tasks that end, in any way, and such as wait at gates; and how many processes there are."""
    s.begin('process_submit')
    workers = s.rng.choice([1, 2, 3])
    s.processes(workers)
    s.do('max_workers')
    for _ in range(s.rng.randint(3, 7)):
        if s.rng.random() < 0.4 and len(s.context.blocked_gates()) < workers:
            s.gated()
        elif len(s.context.blocked_gates()) < workers:
            s.submit([*s.rng.choice([[], [('note',)]]), s.end_of_body()])
        s.do('process_count')
        if s.names:
            s.do(*s.query(s.rng.choice(s.names)))
        gates = sorted(s.context.blocked_gates())
        if gates and s.rng.random() < 0.4:
            s.do('open', s.rng.choice(gates))
    s.open_all()
    for name in s.names:
        s.do('repr', name)
    s.do('shutdown', 'true', 'false')
    s.submit([('return', s.random_value())])


def scenario_process_wait(s):
    """Waiting for tasks, some of which are at gates, and for bare futures beside them."""
    s.begin('process_wait')
    s.processes(2)
    s.do('new', 'f0')
    for _ in range(s.rng.randint(1, 3)):
        s.submit([s.end_of_body()])
    for _ in range(s.rng.randint(0, 2)):
        s.gated()
    names = [*s.names, 'f0']
    for _ in range(s.rng.randint(1, 3)):
        s.do(*s.waiting(names))
    if s.rng.random() < 0.5:
        s.do('collect', 0, *s.some(names, 1, 5))
    gates = s.context.blocked_gates()
    live = [name for name in s.names if not s.is_done(name)]
    if gates and live:
        action = s.rng.choice([
            ('wait', 'none', 'ALL_COMPLETED', *live), ('collect', 'none', *live),
            (s.rng.choice(['result', 'exception']), live[0], 'none'),
        ])
        s.do('spawn', 't0', [action])
        s.do('pause')
        s.open_all()
        s.do('join', 't0')
    s.do('wait', 'none', 'ALL_COMPLETED', *s.names)
    s.do('shutdown', 'true', s.rng.choice(['true', 'false']))


def scenario_process_cancel(s):
    """What runs cannot be cancelled, what waits can; and what CPython only says is running."""
    s.begin('process_cancel')
    workers = s.rng.choice([1, 2])
    s.processes(workers)
    for _ in range(workers):
        s.gated()
    running = list(s.names)
    # CPython's queue to the workers holds one more than there are workers.
    queued = [s.submit([s.end_of_body()]) for _ in range(workers + 1)]
    waiting = [s.submit([('note',), s.end_of_body()]) for _ in range(s.rng.randint(1, 3))]
    states = [s.state(name) for name in running + queued + waiting]
    assert states == ['RUNNING'] * (2 * workers + 1) + ['PENDING'] * len(waiting), states
    s.do('state', s.rng.choice(queued))
    s.do('state', waiting[0])
    if s.rng.random() < 0.5:
        s.do('add_done_callback', waiting[0], s.fresh('c'), [('cancelled', waiting[0])])
    for name in s.rng.sample(running + waiting, len(running) + len(waiting)):
        s.do('cancel', name)
    s.do('wait', 0, 'ALL_COMPLETED', *waiting)
    s.open_all()
    for name in s.names:
        s.do('repr', name)
    s.do('shutdown', 'true', 'false')


def scenario_process_callbacks(s):
    """Callbacks of tasks are called in the parent, in order; they may use the pool, and fail."""
    s.begin('process_callbacks')
    s.processes(1)
    name, gate = s.gated()
    for _ in range(s.rng.randint(1, 3)):
        body = s.rng.choice([
            [], [('panic', 'boom')], [s.query(name)], [('cancel', name)], [('wait', 0, 'ALL_COMPLETED', name)],
            [('shutdown', 'false', 'false'), ('done', name)],
        ])
        s.do('add_done_callback', name, s.fresh('c'), body)
    if s.rng.random() < 0.3:
        s.do('add_done_callback', name, s.fresh('c'), [('submit', s.fresh('p'), [('return', s.random_value())])])
    s.do('open', gate)
    s.do('add_done_callback', name, s.fresh('c'), [s.query(name)])
    s.do('repr', name)
    s.do('shutdown', 'true', 'false')


def scenario_process_map(s):
    """`map` in chunks, with failing items, and with a time-out."""
    s.begin('process_map')
    workers = s.rng.choice([1, 2])
    s.processes(workers)
    if s.rng.random() < 0.25:
        gate = s.fresh('g')
        s.do('map', 'm0', '0', 1, [('gate', gate), ('return', s.random_value())])
        s.do('next', 'm0')
        s.do('next', 'm0')
        s.open_all()
    else:
        chunksize = s.rng.choice([1, 1, 2, 3, 10])
        bodies = []
        for _ in range(s.rng.randint(0, 7)):
            # A chunk with an item that fails has a row of its own, and loses others there.
            end = s.end_of_body() if chunksize == 1 else ('return', s.random_value())
            bodies.append([*([('note',)] if workers == 1 else []), end])
        s.do('map', 'm0', 'none', chunksize, *bodies)
        for _ in range(len(bodies) + 1):
            if s.do('next', 'm0') == 'end':
                break
    s.submit([s.end_of_body()])
    s.do('shutdown', 'true', 'false')
    s.do('map', 'm1', 'none', 1, [('return', s.random_value())])


def scenario_process_shutdown(s):
    """All four combinations, with tasks that run, and such as wait."""
    s.begin('process_shutdown')
    workers = s.rng.choice([1, 2])
    s.processes(workers)
    for _ in range(s.rng.randint(0, workers)):
        s.gated()
    if len(s.names) == workers:
        for _ in range(s.rng.randint(0, workers + 3)):
            s.submit([('return', s.random_value())])
    wait, cancel = s.rng.choice(['true', 'false']), s.rng.choice(['true', 'false'])
    if wait == 'true' and s.context.blocked_gates():
        s.do('spawn', 't0', [('shutdown', wait, cancel)])
        s.do('pause')
        s.open_all()
        s.do('join', 't0')
    else:
        s.do('shutdown', wait, cancel)
    s.submit([('return', s.random_value())])
    s.open_all()
    s.do('ended')
    for name in s.names:
        s.do(*s.rng.choice([('repr', name), ('cancelled', name), ('done', name)]))


def scenario_process_broken(s):
    """A task ends its process, beside others that run or wait."""
    s.begin('process_broken')
    workers = s.rng.choice([1, 2])
    s.processes(workers)
    if s.rng.random() < 0.3:
        s.submit([s.end_of_body()])
    for _ in range(workers - 1):
        s.gated()
    victim, gate = s.gated(('exit', s.rng.choice([0, 1, 3])))
    # At least one: CPython's manager may not watch the worker that the last `submit` has started, and
    # then never hears of its death.
    for _ in range(s.rng.randint(1, 3)):
        s.submit([('return', s.random_value())])
    if s.rng.random() < 0.5:
        name = s.rng.choice(s.names)
        s.do('add_done_callback', name, s.fresh('c'), [s.rng.choice([('done', name), ('exception', name, 0)])])
    s.do('open', gate)
    for name in s.names:
        s.do(*s.rng.choice([('repr', name), ('exception', name, 'none'), ('result', name, 0)]))
    s.submit([('return', s.random_value())])
    s.do('shutdown', 'true', s.rng.choice(['true', 'false']))
    s.do('map', 'm0', 'none', 1, [('return', s.random_value())])


def scenario_process_drop(s):
    """The pool is dropped with work queued, which is done all the same."""
    s.begin('process_drop')
    workers = s.rng.choice([1, 2])
    s.processes(workers)
    for _ in range(workers):
        s.gated()
    for _ in range(s.rng.randint(0, 3)):
        s.submit([*([('note',)] if workers == 1 else []), s.end_of_body()])
    s.do('drop', 'pool')
    s.open_all()
    s.do('ended')
    for name in s.names:
        s.do('repr', name)


def scenario_process_arguments(s):
    s.begin('process_arguments')
    s.do('processes', 0)
    s.do('processes', s.rng.randint(1, 9))
    s.do('max_workers')
    s.do('process_count')
    s.do('shutdown', s.rng.choice(['true', 'false']), s.rng.choice(['true', 'false']))
    s.do('submit', 'p0', [('return', s.random_value())])


# Kinds and how many of a hundred scenarios are of each.
KINDS = [
    (scenario_process_submit, 22),
    (scenario_process_wait, 16),
    (scenario_process_cancel, 12),
    (scenario_process_callbacks, 12),
    (scenario_process_map, 14),
    (scenario_process_shutdown, 10),
    (scenario_process_broken, 8),
    (scenario_process_drop, 4),
    (scenario_process_arguments, 2),
]


def record_one(seed, index):
    scenario = Scenario(seed, index)
    scenario.rng = random.Random(f'processes/{seed}/{index}')
    scenario.rng.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0](scenario)
    context = scenario.context
    for gate in context.gates.values():
        gate.opened.set()
    if context.pool is not None:
        context.pool.shutdown()
    context.listener.close()
    LogHandler.context = scenario.context = context.pool = context.manager = None
    gc.collect()
    return scenario.lines


if __name__ == '__main__':
    record.main(os.path.abspath(__file__), record_one)
