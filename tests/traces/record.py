#!/usr/bin/env python3
"""Records what CPython's concurrent.futures does, for the replayer in this directory.

    python3 tests/traces/record.py --seed S --count N --out FILE

Scenarios are made up from the seed and run while they are made up: what is done next depends on what
CPython did before. The same seed gives the same file. docs/traces.md describes the format.

What is recorded must be what any correct port does, whatever the scheduling. Hence the one rule of
all scenarios with threads: the next operation starts when everything is at rest, that is, when every
worker waits at a gate, waits for work, or has ended (`Context.at_rest`). To see that, the recorder
looks into the executor; what it records is only what users can see.
"""

import argparse
import gc
import logging
import os
import queue
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures
from concurrent.futures import _base, thread as pool_module

FORMAT = 1
# Processes that share the scenarios: many of them wait, for hangs above all.
PROCESSES = 6
# After how many seconds an operation counts as hung: one that is known for it, and any other.
SUSPECT_LIMIT = 2.0
LIMIT = 30.0


# ---- types and their names

class panic(Exception):
    """What a panic is on the other side."""


class AppError(Exception):
    pass


class ParseError(AppError):
    pass


ERRORS = {cls.__name__: cls for cls in (ValueError, TypeError, ZeroDivisionError, OSError, AppError, ParseError)}

# Rust type: Python type, values, and whether dropping such a value runs code.
TYPES = {
    'i32': (int, [0, 1, -7, 42, 2147483647], False),
    'i64': (int, [0, -1, 9007199254740993], False),
    'String': (str, ['a', 'word', 'some-text'], True),
    '()': (type(None), [None], False),
    'bool': (bool, [True, False], False),
    'f64': (float, [0.5, -1.25, 3.5], False),
    'Vec<i32>': (list, [[], [1], [1, 2, 3]], True),
}


def show_value(value):
    if value is None:
        return '()'
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, list):
        return '[' + ','.join(map(str, value)) + ']'
    return str(value)


def show(action):
    """An action, as a line of the file has it: words, and blocks of actions in braces."""
    return ' '.join(
        '{' + '; '.join(map(show, word)) + '}' if isinstance(word, list) else str(word) for word in action
    )


# ---- looking into the executor

class ObservedQueue(queue.SimpleQueue):
    """The pool's work queue, with counts that tell when its workers are at rest."""

    def __init__(self):
        self.lock = threading.Lock()
        self.puts = self.gets = self.waiting = 0

    def put(self, item):
        with self.lock:
            self.puts += 1
        super().put(item)

    def get_nowait(self):
        item = super().get_nowait()
        with self.lock:
            self.gets += 1
        return item

    def get(self, block=True):
        with self.lock:
            self.waiting += 1
        item = super().get(block=block)
        with self.lock:
            self.waiting -= 1
            self.gets += 1
        return item


class Gate:
    def __init__(self):
        self.opened = threading.Event()
        self.reached = False


class LogHandler(logging.Handler):
    context = None

    def emit(self, record):
        context = LogHandler.context
        line = f'log {record.levelname} {context.mask(record.getMessage())}'
        if record.exc_info:
            line += f' [{context.show_exception(record.exc_info[1])}]'
        context.event(line)


# ---- performing actions

class Context:
    """The futures, iterators, gates, threads and the pool of one scenario."""

    def __init__(self, kind, type_name):
        self.kind = kind
        self.type_name = type_name
        self.futures = {}
        self.iterators = {}
        self.gates = {}
        self.threads = {}
        self.outcomes = {}
        self.pool = None
        self.queue = None
        self.pool_threads = []
        self.seen_threads = set()
        self.events = []
        self.lock = threading.Lock()

    def mask(self, text):
        text = re.sub(r'0x[0-9a-f]+', '0x', text)
        text = re.sub(r'^Future \d+ in', 'Future ID in', text)
        text = re.sub(r'ThreadPoolExecutor-\d+_', 'ThreadPoolExecutor-N_', text)
        python_name = TYPES[self.type_name][0].__name__
        return re.sub(rf'returned {python_name}>', f'returned {self.type_name}>', text)

    def show_exception(self, error, submitting=False):
        name = type(error).__name__
        text = self.mask(str(error))
        if name == 'RuntimeError' and text == 'Future in unexpected state':
            name = 'InvalidStateError'
        elif submitting and isinstance(error, RuntimeError):
            name = 'SubmitError'
        return f'{name}: {text}' if text else name

    def event(self, line):
        with self.lock:
            self.events.append(line)

    def name_of(self, future):
        return next((name for name, other in self.futures.items() if other is future), '?')

    def run_body(self, who, body):
        """What a task or a callback does."""
        for action in body:
            match action:
                case ('return', text):
                    return self.value(text)
                case ('raise', name, text):
                    raise ERRORS[name](text)
                case ('panic', text):
                    raise panic(text)
                case ('note',):
                    self.event(f'{who}: note')
                case ('thread_name',):
                    name = self.mask(threading.current_thread().name)
                    self.event(f'{who}: thread_name = {name}')
                case ('gate', name):
                    gate = self.gates[name]
                    gate.reached = True
                    gate.opened.wait()
                case _:
                    self.event(f'{who}: {show(action)} = {self.perform(action)}')
        return TYPES[self.type_name][1][0]

    def run_task(self, who, body):
        self.seen_threads.add(threading.current_thread())
        return self.run_body(who, body)

    def value(self, text):
        for value in TYPES[self.type_name][1]:
            if show_value(value) == text:
                return value
        raise SystemExit(f'{text!r} is no value of {self.type_name}')

    def callback(self, name, body):
        def called(future):
            self.event(f'{name} {self.name_of(future)} {future._state}')
            self.run_body(name, body)
        return called

    def make_gates(self, body):
        for action in body:
            if action[0] == 'gate':
                self.gates.setdefault(action[1], Gate())
            for word in action:
                if isinstance(word, list):
                    self.make_gates(word)

    def perform(self, action):
        """Does it, and says what came of it."""
        self.make_gates([action])
        submitting = action[0] in ('submit', 'map')
        try:
            return getattr(self, 'do_' + action[0])(*action[1:])
        except StopIteration:
            return 'end'
        except Exception as error:
            outcome = f'raise {self.show_exception(error, submitting)}'
            if action[0] in CHANGING:
                outcome += f' | {self.futures[action[1]]._state}'
            return outcome

    def changed(self, name, value):
        return f'{show_value(value)} | {self.futures[name]._state}'

    def do_new(self, name):
        self.futures[name] = futures.Future()
        return '()'

    def do_state(self, name):
        return self.futures[name]._state

    def do_repr(self, name):
        return self.mask(repr(self.futures[name]))

    def do_cancelled(self, name):
        return show_value(self.futures[name].cancelled())

    def do_running(self, name):
        return show_value(self.futures[name].running())

    def do_done(self, name):
        return show_value(self.futures[name].done())

    def do_cancel(self, name):
        return self.changed(name, self.futures[name].cancel())

    def do_set_running_or_notify_cancel(self, name):
        return self.changed(name, self.futures[name].set_running_or_notify_cancel())

    def do_set_result(self, name, text):
        return self.changed(name, self.futures[name].set_result(self.value(text)))

    def do_set_exception(self, name, error, text):
        cls = panic if error == 'panic' else ERRORS[error]
        return self.changed(name, self.futures[name].set_exception(cls(text)))

    def do_result(self, name, timeout):
        return show_value(self.futures[name].result(seconds(timeout)))

    def do_exception(self, name, timeout):
        error = self.futures[name].exception(seconds(timeout))
        return 'None' if error is None else self.show_exception(error)

    def do_add_done_callback(self, name, callback, body):
        return show_value(self.futures[name].add_done_callback(self.callback(callback, body)))

    def do_wait(self, timeout, return_when, *names):
        fs = [self.futures[name] for name in names]
        done, not_done = futures.wait(fs, seconds(timeout), return_when)
        return f'done {self.show_set(done)} not_done {self.show_set(not_done)}'

    def show_set(self, fs):
        return '{' + ' '.join(sorted(self.name_of(f) for f in fs)) + '}'

    def do_as_completed(self, name, timeout, count, *names):
        """Makes the iterator and takes its first items, whose order is that of a set."""
        fs = [self.futures[other] for other in names]
        iterator = self.iterators[name] = futures.as_completed(fs, seconds(timeout))
        return self.show_set([next(iterator) for _ in range(int(count))])

    def do_collect(self, timeout, *names):
        """Takes all there is. Only for futures whose order does not matter."""
        taken = []
        try:
            for future in futures.as_completed([self.futures[name] for name in names], seconds(timeout)):
                taken.append(future)
            end = 'end'
        except TimeoutError as error:
            end = f'raise {self.show_exception(error)}'
        return f'{self.show_set(taken)} {end}'

    def do_next(self, name):
        item = next(self.iterators[name])
        return show_value(item) if name.startswith('m') else self.name_of(item)

    def do_drop(self, name):
        if name == 'pool':
            self.pool = None
            gc.collect()
        else:
            self.iterators.pop(name).close()
        return '()'

    def do_churn(self, how, count, *names):
        """Waits in vain, many times. How many waiters are left behind?"""
        fs = [self.futures[name] for name in names]
        for _ in range(int(count)):
            if how == 'as_completed':
                iterator = futures.as_completed(fs, 0)
                try:
                    for _ in iterator:
                        pass
                except TimeoutError:
                    pass
            elif how == 'dropped':
                iterator = futures.as_completed(fs)
                next(iterator)
                iterator.close()
            else:
                futures.wait(fs, 0, how)
        return f'waiters {sum(len(f._waiters) for f in fs)}'

    # -- threads that wait

    def do_spawn(self, name, block):
        def target():
            self.outcomes[name] = self.perform(block[0])
        thread = self.threads[name] = threading.Thread(target=target, daemon=True)
        thread.start()
        return '()'

    def do_pause(self):
        """Gives the other side the time to fall asleep; here, at_rest has seen to that."""
        return '()'

    def do_join(self, name):
        self.threads.pop(name).join()
        return self.outcomes.pop(name)

    # -- the pool

    def do_pool(self, max_workers, prefix, *bodies):
        """The bodies are what the first, the second, ... thread does as its initializer."""
        options = {}
        if prefix != '-':
            options['thread_name_prefix'] = prefix
        if bodies:
            rest = iter(bodies)
            options['initializer'] = lambda: self.run_body('initializer', next(rest))
        pool = futures.ThreadPoolExecutor(int(max_workers), **options)
        pool._work_queue = self.queue = ObservedQueue()
        self.pool = pool
        return '()'

    def do_submit(self, name, body):
        self.futures[name] = self.pool.submit(self.run_task, name, body)
        return '()'

    def do_open(self, name):
        self.gates[name].opened.set()
        return '()'

    def do_settle(self, *names):
        for name in names:
            if name in self.gates:
                while not self.gates[name].reached:
                    time.sleep(0.0001)
            else:
                try:
                    self.futures[name].exception()
                except futures.CancelledError:
                    pass
        return '()'

    def do_shutdown(self, wait, cancel_futures):
        self.pool.shutdown(wait == 'true', cancel_futures=cancel_futures == 'true')
        return '()'

    def do_map(self, name, timeout, *bodies):
        def call(item):
            return self.run_task(f'{name}.{item}', bodies[item])
        self.iterators[name] = self.pool.map(call, range(len(bodies)), timeout=seconds(timeout))
        return '()'

    def do_thread_count(self):
        return str(len(self.pool._threads))

    def do_queue_size(self):
        return str(self.pool._work_queue.qsize())

    def do_max_workers(self):
        return str(self.pool._max_workers)

    def do_ended(self):
        """Waits until all threads that ran a task have ended."""
        for thread in self.seen_threads:
            thread.join()
        return 'all'

    # -- rest

    def blocked_gates(self):
        return [name for name, gate in self.gates.items() if gate.reached and not gate.opened.is_set()]

    def at_rest(self):
        for thread in list(self.threads.values()):
            if thread.is_alive() and not asleep(thread):
                return False
        if self.queue is None:
            return True
        if self.pool is not None:
            self.pool_threads = list(self.pool._threads)
        threads = self.pool_threads
        blocked = len(self.blocked_gates())
        ended = sum(not thread.is_alive() for thread in threads)
        with self.queue.lock:
            waiting = self.queue.waiting
            nothing_to_get = self.queue.puts == self.queue.gets
        return blocked + ended + waiting == len(threads) and (nothing_to_get or waiting == 0)


def asleep(thread):
    """Whether the thread waits for a future, an event or another thread."""
    for _ in range(2):
        frame = sys._current_frames().get(thread.ident)
        if frame is None or frame.f_code.co_filename != threading.__file__:
            return False
        if frame.f_code.co_name not in ('wait', 'join'):
            return False
        time.sleep(0.0005)
    return True


def seconds(timeout):
    return None if timeout == 'none' else float(timeout)


CHANGING = ('cancel', 'set_running_or_notify_cancel', 'set_result', 'set_exception')
SETTLED = ('CANCELLED_AND_NOTIFIED', 'FINISHED')


# ---- scenarios

class Scenario:
    """Runs and writes down one scenario."""

    def __init__(self, seed, index):
        self.rng = random.Random(f'{seed}/{index}')
        self.index = index
        self.lines = []
        self.current = None         # the operation that is under way,
        self.limit = LIMIT          # how long it may take,
        self.started = 0.0          # since when,
        self.unreached = ()         # and what comes after it, should it hang
        self.announced = set()
        self.counters = {}

    def begin(self, kind, type_name=None):
        if type_name is None:
            type_name = self.rng.choice(['i32', 'i32', 'i32', *TYPES])
        self.context = LogHandler.context = Context(kind, type_name)
        self.lines.append(f'scenario {self.index} {kind} {type_name}')

    def fresh(self, prefix):
        number = self.counters.get(prefix, 0)
        self.counters[prefix] = number + 1
        return f'{prefix}{number}'

    def do(self, *action, hang=None):
        """Performs an operation and writes it down. `hang`: what would come next, should it hang."""
        self.unreached = hang or ()
        self.limit = LIMIT if hang is None else SUSPECT_LIMIT
        self.started = time.monotonic()
        self.current = action
        outcome = self.context.perform(action)
        while not self.context.at_rest():
            time.sleep(0.00005)
        self.current = None
        self.write(action, outcome)
        self.settle()
        return outcome

    def write(self, action, outcome):
        self.lines.append(show(action))
        with self.context.lock:
            self.lines += [f' {event}' for event in self.context.events]
            self.context.events.clear()
        if outcome != '()':
            self.lines.append(f'= {outcome}')

    def settle(self):
        """Has the replayer wait for what the workers did meanwhile."""
        now = {name for name, f in self.context.futures.items() if name[0] == 'p' and f.done()}
        now |= set(self.context.blocked_gates())
        new = sorted(now - self.announced)
        self.announced |= now
        if new:
            self.write(('settle', *new), '()')

    def hung(self):
        self.write(self.current, 'hang')
        for action in self.unreached:
            self.write(action, '?')

    # -- random parts

    def random_value(self):
        return show_value(self.rng.choice(TYPES[self.context.type_name][1]))

    def some(self, names, least=1, most=4):
        names = sorted(names)
        return [self.rng.choice(names) for _ in range(self.rng.randint(least, most))] if names else []

    def state(self, name):
        return self.context.futures[name]._state

    def end_of_body(self):
        return self.rng.choices(
            [('return', self.random_value()), ('raise', self.rng.choice(sorted(ERRORS)), 'bad'), ('panic', 'boom')],
            [6, 2, 1],
        )[0]

    def query(self, name):
        return self.rng.choice([
            ('state', name), ('repr', name), ('cancelled', name), ('running', name), ('done', name),
            ('result', name, 0), ('exception', name, 0),
        ])

    def change(self, name):
        return self.rng.choice([
            ('cancel', name), ('cancel', name), ('set_running_or_notify_cancel', name),
            ('set_result', name, self.random_value()), ('set_result', name, self.random_value()),
            ('set_exception', name, self.rng.choice([*sorted(ERRORS), 'panic']), 'oops'),
        ])

    def waiting(self, names):
        when = self.rng.choice(['FIRST_COMPLETED', 'FIRST_EXCEPTION', 'ALL_COMPLETED'])
        return ('wait', 0, when, *self.some(names, 0 if self.rng.random() < 0.1 else 1, 5))

    def callback_body(self, names, depth=0):
        """`names` are bare futures."""
        body = []
        for _ in range(self.rng.choice([0, 0, 1, 1, 1, 2, 3])):
            name = self.rng.choice(names)
            chance = self.rng.random()
            if chance < 0.35:
                body.append(self.query(name))
            elif chance < 0.7:
                body.append(self.change(name))
            elif chance < 0.8 or depth == 2:
                body.append(self.waiting(names))
            elif chance < 0.85:
                body.append(('collect', 0, *self.some(names)))
            else:
                body.append(('add_done_callback', name, self.fresh('c'), self.callback_body(names, depth + 1)))
        if self.rng.random() < 0.25:
            body.append(('panic', f'boom-{self.rng.randint(0, 9)}'))
        return body

    def blocks(self, when, names):
        """Whether `wait` without a time-out would block now."""
        settled = [name for name in names if self.state(name) in SETTLED]
        if len(settled) == len(names):
            return False
        if when == 'FIRST_COMPLETED':
            return not settled
        if when == 'FIRST_EXCEPTION':
            return not any(self.context.futures[name]._exception for name in settled)
        return True


def scenario_future(s):
    """Every method in every state, and callbacks that call back."""
    s.begin('future')
    names = []
    for _ in range(s.rng.randint(1, 3)):
        names.append(s.fresh('f'))
        s.do('new', names[-1])
    for _ in range(s.rng.randint(5, 10)):
        name = s.rng.choice(names)
        chance = s.rng.random()
        if chance < 0.3:
            s.do(*s.change(name))
        elif chance < 0.65:
            s.do('add_done_callback', name, s.fresh('c'), s.callback_body(names))
        elif chance < 0.95:
            action = s.query(name)
            if action[0] in ('result', 'exception') and s.context.futures[name].done():
                action = (*action[:2], 'none')
            s.do(*action)
        else:
            s.do(s.rng.choice(['result', 'exception']), name, '0.001')
    for name in names:
        s.do('repr', name)


def scenario_states(s):
    """One method after the other on a future in one state."""
    s.begin('states')
    s.do('new', 'f0')
    setup = s.rng.choice([
        [], [('set_running_or_notify_cancel',)], [('cancel',)], [('cancel',), ('set_running_or_notify_cancel',)],
        [('set_result', s.random_value())], [('set_exception', s.rng.choice(sorted(ERRORS)), 'oops')],
        [('set_running_or_notify_cancel',), ('set_result', s.random_value())],
    ])
    for step in setup:
        s.do(step[0], 'f0', *step[1:])
    s.do('add_done_callback', 'f0', 'c0', s.callback_body(['f0']))
    order = [
        ('state',), ('repr',), ('cancelled',), ('running',), ('done',), ('result', 0), ('exception', 0),
        ('cancel',), ('set_running_or_notify_cancel',), ('set_result', s.random_value()),
        ('set_exception', 'ValueError', 'late'),
    ]
    s.rng.shuffle(order)
    for step in order[:s.rng.randint(4, len(order))]:
        s.do(step[0], 'f0', *step[1:])


def scenario_chain(s):
    """Callbacks that complete futures whose callbacks complete futures."""
    s.begin('chain')
    length = s.rng.choice([2, 3, 5, 8, 12, 15, 18, 24])
    for _ in range(length):
        s.do('new', s.fresh('f'))
    for number in range(length - 1):
        following = f'f{number + 1}'
        action = s.rng.choice([
            ('set_result', following, s.random_value()), ('cancel', following),
            ('set_exception', following, 'AppError', 'link'),
        ])
        s.do('add_done_callback', f'f{number}', f'c{number}', [action])
    s.do('set_result', 'f0', s.random_value())
    s.do('repr', f'f{length - 1}')


def mixed_futures(s, least, most):
    names = []
    for _ in range(s.rng.randint(least, most)):
        name = s.fresh('f')
        names.append(name)
        s.do('new', name)
        for step in s.rng.choice([
            [], [], [('set_running_or_notify_cancel',)], [('cancel',)], [('cancel',), ('set_running_or_notify_cancel',)],
            [('set_result', s.random_value())], [('set_exception', 'ValueError', 'oops')],
        ]):
            s.do(step[0], name, *step[1:])
    return names


def scenario_wait(s):
    """`wait` and `as_completed` on sets in mixed states, with duplicates."""
    s.begin('wait')
    names = mixed_futures(s, 2, 6)
    for _ in range(s.rng.randint(2, 5)):
        chance = s.rng.random()
        if chance < 0.6:
            action = s.waiting(names)
            if not s.blocks(action[2], set(action[3:])):
                action = ('wait', 'none', *action[2:])
            s.do(*action)
        elif chance < 0.8:
            s.do('collect', 0, *s.some(names, 0, 6))
        else:
            s.do(*s.change(s.rng.choice(names)))


def scenario_as_completed(s):
    """`as_completed` consumed in part while futures change between the steps."""
    s.begin('as_completed')
    names = mixed_futures(s, 2, 5)
    iterators = {}
    for _ in range(s.rng.randint(5, 10)):
        chance = s.rng.random()
        if chance < 0.25 and len(iterators) < 2:
            timeout = s.rng.choice(['none', 'none', '0'])
            given = s.some(names, 1, 6)
            settled = {name for name in given if s.state(name) in SETTLED}
            if timeout == 'none' and not settled:
                continue
            name = s.fresh('i')
            outcome = s.do('as_completed', name, timeout, len(settled) or 1, *given)
            if not outcome.startswith('raise'):
                iterators[name] = (timeout, set(given), settled)
        elif chance < 0.6 and iterators:
            name = s.rng.choice(sorted(iterators))
            timeout, given, taken = iterators[name]
            ready = any(s.state(other) in SETTLED for other in given - taken)
            if timeout == 'none' and not ready and given != taken:
                continue
            taken.add(s.do('next', name))
        elif chance < 0.65 and iterators:
            name = s.rng.choice(sorted(iterators))
            del iterators[name]
            s.do('drop', name)
        elif chance < 0.75:
            s.do('add_done_callback', s.rng.choice(names), s.fresh('c'), s.callback_body(names))
        else:
            s.do(*s.change(s.rng.choice(names)))


def scenario_blocked(s):
    """Threads that wait for bare futures, until another thread completes these."""
    s.begin('blocked')
    how = s.rng.choice(['result', 'wait', 'wait', 'wait', 'as_completed'])
    finish = lambda name: s.rng.choice([  # noqa: E731
        [('set_result', name, s.random_value())], [('set_exception', name, 'OSError', 'gone')],
        [('cancel', name), ('set_running_or_notify_cancel', name)],
    ])
    if how == 'result':
        s.do('new', 'f0')
        threads = s.rng.randint(1, 3)
        for number in range(threads):
            s.do('spawn', f't{number}', [(s.rng.choice(['result', 'exception']), 'f0', 'none')])
        s.do('pause')
        for action in finish('f0')[:s.rng.randint(1, 2)]:
            s.do(*action)
        for number in range(threads):
            s.do('join', f't{number}')
    elif how == 'wait':
        names = [f'f{number}' for number in range(s.rng.randint(2, 4))]
        for name in names:
            s.do('new', name)
        when = s.rng.choice(['FIRST_COMPLETED', 'FIRST_EXCEPTION', 'FIRST_EXCEPTION', 'ALL_COMPLETED'])
        before = s.rng.sample(names, s.rng.randint(0, len(names) - 1))
        for name in before:
            for action in finish(name):
                s.do(*action)
        threads = s.rng.randint(1, 2)
        for number in range(threads):
            s.do('spawn', f't{number}', [('wait', 'none', when, *s.rng.sample(names, len(names)))])
        s.do('pause')
        # What is done at the return must not depend on when the waiting thread gets to look: so
        # nothing happens after what ends the wait.
        for name in names:
            if name in before or not s.blocks(when, names):
                continue
            for action in finish(name):
                s.do(*action)
            if s.blocks(when, names):
                s.do('pause')
        for number in range(threads):
            s.do('join', f't{number}')
        s.do('wait', 0, 'ALL_COMPLETED', *names)
    else:
        names = [f'f{number}' for number in range(s.rng.randint(2, 4))]
        for name in names:
            s.do('new', name)
        order = s.rng.sample(names, len(names))
        s.do('spawn', 't0', [('as_completed', 'i0', 'none', 1, *names)])
        for number, name in enumerate(order):
            s.do('pause')
            for action in finish(name):
                s.do(*action)
            s.do('join', f't{number}')
            if name != order[-1]:
                s.do('spawn', f't{number + 1}', [('next', 'i0')])
        s.do('next', 'i0')


def scenario_churn(s):
    """Waiters are gone when the wait has ended, however it ends."""
    s.begin('churn', 'i32')
    names = ['f0', 'f1']
    for name in names:
        s.do('new', name)
    how = s.rng.choice(['ALL_COMPLETED', 'FIRST_EXCEPTION', 'FIRST_COMPLETED', 'as_completed', 'dropped'])
    if how == 'dropped':
        s.do('set_result', 'f1', '1')
    s.do('churn', how, 30000, *names)
    s.do('set_result', 'f0', '42')


class Pool:
    """A pool in a scenario, and what is certain about it."""

    def __init__(self, s, max_workers, prefix='-', *bodies):
        self.s = s
        self.max_workers = max_workers
        # Whether the number of threads is the same on every correct port: a port may count a worker
        # as busy a little longer than the future's waiters see it.
        self.certain = not TYPES[s.context.type_name][2]
        self.names = []
        s.do('pool', max_workers, prefix, *bodies)

    def threads(self):
        return len(self.s.context.pool._threads)

    def blocked(self):
        return len(self.s.context.blocked_gates())

    def counted(self):
        return self.certain or self.threads() == self.max_workers or self.threads() == 0

    def all_blocked(self):
        return self.blocked() == self.max_workers

    def named(self):
        """Whether it is certain which thread takes the next task."""
        return self.max_workers == 1 or self.blocked() == self.threads() < self.max_workers

    def submit(self, body, **options):
        name = self.s.fresh('p')
        self.certain &= body[-1][0] == 'return' and not any(action[0] == 'submit' for action in body)
        outcome = self.s.do('submit', name, body, **options)
        if outcome == '()':
            self.names.append(name)
        return name

    def gated(self, end=None):
        gate = self.s.fresh('g')
        return self.submit([('gate', gate), end or self.s.end_of_body()]), gate

    def open_all(self):
        while gates := self.s.context.blocked_gates():
            self.s.do('open', self.s.rng.choice(sorted(gates)))

    def fill(self):
        """Has every worker wait at a gate."""
        while not self.all_blocked():
            self.gated()

    def cancelled_in_queue(self):
        return [name for name in self.names if self.s.state(name) == 'CANCELLED']

    def task_body(self):
        s = self.s
        body = []
        if s.rng.random() < 0.3:
            body.append(('note',))
        if s.rng.random() < 0.3 and self.named():
            body.append(('thread_name',))
        if self.names and s.rng.random() < 0.3:
            name = s.rng.choice(self.names)
            action = s.rng.choice([s.query(name), ('cancel', name), s.waiting(self.names), ('collect', 0, name)])
            # With two workers, the other one may be changing what this would look at.
            if self.max_workers == 1:
                body.append(action)
        if s.rng.random() < 0.4:
            body.append(('gate', s.fresh('g')))
            if s.rng.random() < 0.3:
                body.append(('note',))
        if self.max_workers == 1 and s.rng.random() < 0.15:
            inner = s.fresh('p')
            body.append(('submit', inner, [('note',), s.end_of_body()]))
        body.append(s.end_of_body())
        return body

    def note_submitted(self):
        """Learns of what tasks have submitted."""
        for name in self.s.context.futures:
            if name.startswith('p') and name not in self.names:
                self.names.append(name)


def pool_callback(s, pool):
    """The body of a callback of a pool's future."""
    body = []
    # With two workers, the other one may be changing what these would look at.
    for _ in range(s.rng.choice([0, 1, 1, 2]) if pool.max_workers == 1 else 0):
        name = s.rng.choice(pool.names)
        body.append(s.rng.choice([s.query(name), ('cancel', name), ('wait', 0, 'ALL_COMPLETED', name)]))
    if pool.max_workers == 1 and s.rng.random() < 0.2:
        # The worker may start at once, beside the callback: so the task has nothing to report, and
        # nothing comes after it.
        body.append(('submit', s.fresh('p'), [('return', s.random_value())]))
    elif s.rng.random() < 0.25:
        body.append(('panic', 'boom'))
    return body


def scenario_pool(s):
    """Tasks, gates, cancelling and looking, in any order."""
    s.begin('pool')
    pool = Pool(s, s.rng.choice([1, 1, 2]), s.rng.choice(['-', 'fetch', 'x-1']))
    s.do('new', s.fresh('f'))
    for _ in range(s.rng.randint(5, 10)):
        chance = s.rng.random()
        gates = sorted(s.context.blocked_gates())
        if chance < 0.35 or not pool.names:
            pool.submit(pool.task_body())
        elif chance < 0.45:
            pool.certain = False
            s.do('cancel', s.rng.choice(pool.names))
        elif chance < 0.6:
            s.do(*s.query(s.rng.choice(pool.names)))
        elif chance < 0.7:
            pool.certain = False
            s.do('add_done_callback', s.rng.choice(pool.names), s.fresh('c'), pool_callback(s, pool))
        elif chance < 0.8 and gates:
            s.do('open', s.rng.choice(gates))
        elif chance < 0.85:
            s.do(*s.waiting([*pool.names, 'f0']))
        elif chance < 0.89:
            s.do('collect', 0, *s.some([*pool.names, 'f0'], 1, 5))
        elif chance < 0.95 and pool.counted():
            s.do('thread_count')
        elif pool.all_blocked():
            s.do('queue_size')
        pool.note_submitted()
    if pool.counted():
        s.do('thread_count')
    if s.rng.random() < 0.4:
        blocked_on_pool(s, pool)
    pool.open_all()
    pool.note_submitted()
    s.do('shutdown', 'true', 'false')
    for name in sorted(pool.names):
        s.do('repr', name)


def blocked_on_pool(s, pool):
    """A thread that waits for the tasks, and sees the end of all of them."""
    names = [name for name in pool.names if s.state(name) != 'CANCELLED']
    gates = s.context.blocked_gates()
    if not names or not gates:
        return
    action = s.rng.choice([
        ('wait', 'none', 'ALL_COMPLETED', *names), ('collect', 'none', *names),
        (s.rng.choice(['result', 'exception']), s.rng.choice(names), 'none'),
    ])
    s.do('spawn', 't0', [action])
    s.do('pause')
    pool.open_all()
    s.do('join', 't0')


def scenario_map(s):
    """`map` with time-outs, failing items and early abandonment, on one free worker."""
    s.begin('map')
    pool = Pool(s, s.rng.choice([1, 1, 2]), 'mapper')
    if pool.max_workers == 2:
        pool.gated()
    outside = s.context.blocked_gates()
    # A queue that does not move, so that it is certain which items are cancelled.
    holder = None
    if s.rng.random() < 0.4:
        holder = pool.gated()[1]
    bodies = []
    for _ in range(s.rng.randint(0, 5)):
        body = [('note',)]
        if s.rng.random() < 0.25:
            body.append(('gate', s.fresh('g')))
        body.append(s.end_of_body())
        bodies.append(body)
    timeout = s.rng.choice(['none', 'none', '0'])
    s.do('map', 'm0', timeout, *bodies)
    if timeout == '0':
        # Nobody but the iterator can see which items are done. When this task is, they all are; and
        # when one waits at its gate, those before it are.
        pool.submit([('return', s.random_value())])
    # One that is dropped before its first step is a kind of its own.
    for _ in range(s.rng.randint(1, len(bodies) + 2)):
        gates = [gate for gate in s.context.blocked_gates() if gate not in outside]
        if timeout == 'none' and gates:
            # The next item may not be there, so let all items get done.
            while gates := [gate for gate in s.context.blocked_gates() if gate not in outside]:
                s.do('open', gates[0])
        outcome = s.do('next', 'm0')
        if outcome == 'end' and s.rng.random() < 0.7:
            break
    if s.rng.random() < 0.6:
        s.do('drop', 'm0')
    pool.open_all()
    pool.submit([('note',), ('return', s.random_value())])
    s.do('shutdown', 'true', 'false')
    if s.rng.random() < 0.5:
        s.do('map', 'm1', 'none', [('return', s.random_value())])


def scenario_map_not_begun(s):
    """`map`'s iterator is dropped before its first step."""
    s.begin('map_not_begun')
    pool = Pool(s, 1)
    pool.gated()
    s.do('map', 'm0', s.rng.choice(['none', '0']), *[[('note',), s.end_of_body()]] * s.rng.randint(1, 3))
    s.do('drop', 'm0')
    pool.open_all()
    pool.submit([('note',), ('return', s.random_value())])
    s.do('shutdown', 'true', 'false')


def boolean(s):
    return s.rng.choice(['true', 'false'])


def scenario_shutdown(s):
    """All four combinations, twice, and submitting after it."""
    s.begin('shutdown')
    pool = Pool(s, s.rng.choice([1, 2]))
    if s.rng.random() < 0.3:
        pool.submit([('note',), s.end_of_body()])
    if s.rng.random() < 0.8:
        pool.fill()
        for _ in range(s.rng.randint(0, 4)):
            pool.submit([('note',), s.end_of_body()])
        queued = [name for name in pool.names if s.state(name) == 'PENDING']
        for name in queued:
            if s.rng.random() < 0.4:
                body = s.rng.choice([
                    [], [s.query(name)], [('panic', 'boom')], [('cancel', s.rng.choice(queued))],
                    [('wait', 0, 'FIRST_COMPLETED', *queued)],
                ])
                s.do('add_done_callback', name, s.fresh('c'), body)
        if queued and s.rng.random() < 0.3:
            s.do('cancel', s.rng.choice(queued))
    late = [('note',), ('return', s.random_value())]
    wait, cancel = boolean(s), boolean(s)
    if wait == 'true' and s.context.blocked_gates():
        s.do('spawn', 't0', [('shutdown', wait, cancel)])
        s.do('pause')
        pool.open_all()
        s.do('join', 't0')
    else:
        s.do('shutdown', wait, cancel)
    s.do('submit', s.fresh('p'), late)
    if s.rng.random() < 0.5:
        wait, cancel = boolean(s), boolean(s)
        if wait == 'true':
            pool.open_all()
        s.do('shutdown', wait, cancel)
        s.do('submit', s.fresh('p'), late)
    if s.rng.random() < 0.3:
        s.do('map', 'm0', 'none', late, late)
    pool.open_all()
    if pool.counted():
        s.do('thread_count')
    s.do('ended')
    for name in pool.names:
        s.do(*s.query(name))


def scenario_shutdown_in_task(s):
    """A task or a callback shuts its pool down, without waiting."""
    s.begin('shutdown_in_task')
    pool = Pool(s, 1)
    action = ('shutdown', 'false', boolean(s))
    gate = s.fresh('g')
    where = s.rng.choice(['task', 'callback'])
    if where == 'task':
        first = pool.submit([('gate', gate), action, ('submit', s.fresh('p'), [('return', s.random_value())]), s.end_of_body()])
    else:
        first = pool.submit([('gate', gate), s.end_of_body()])
        s.do('add_done_callback', first, s.fresh('c'), [action, ('done', first)])
    for _ in range(s.rng.randint(0, 3)):
        pool.submit([('note',), s.end_of_body()])
    s.do('open', gate)
    s.do('submit', s.fresh('p'), [('return', s.random_value())])
    s.do('ended')
    for name in pool.names:
        s.do('repr', name)


def scenario_initializer(s):
    """Initializers that fail with work queued, and such that do not fail."""
    s.begin('initializer')
    workers = s.rng.choice([1, 1, 2])
    end = s.rng.choice([('raise', 'ValueError', 'no-start'), ('raise', 'AppError', 'no-start'), ('panic', 'boom'), None])
    if end is None:
        body = [('note',), ('return', s.random_value())]
        pool = Pool(s, workers, s.rng.choice(['-', 'init']), *[body] * workers)
        for _ in range(s.rng.randint(1, 3)):
            pool.submit([('note',), s.end_of_body()])
        if pool.counted():
            s.do('thread_count')
        s.do('shutdown', 'true', 'false')
        return
    gate = s.fresh('g')
    body = [('gate', gate), end]
    if workers == 1:
        pool = Pool(s, workers, s.rng.choice(['-', 'init']), body)
    else:
        # The second thread fails while the first one works.
        pool = Pool(s, workers, s.rng.choice(['-', 'init']), [('return', s.random_value())], body)
        pool.gated()
    for _ in range(s.rng.randint(1, 4)):
        name = pool.submit([('note',), s.end_of_body()])
        if s.rng.random() < 0.4:
            s.do('add_done_callback', name, s.fresh('c'), s.rng.choice([
                [], [('repr', name)], [('exception', name, 0)], [('panic', 'boom')],
            ]))
    s.do('thread_count')
    if s.rng.random() < 0.3:
        s.do('shutdown', 'false', 'false')
    s.do('open', gate)
    s.do('submit', s.fresh('p'), [('return', s.random_value())])
    s.do('map', 'm0', 'none', [('return', s.random_value())])
    pool.open_all()
    for name in pool.names:
        s.do(*s.rng.choice([s.query(name), ('exception', name, 'none')]))
    s.do('shutdown', 'true', boolean(s))
    s.do('submit', s.fresh('p'), [('return', s.random_value())])


def scenario_initializer_awaited(s):
    """A thread waits for the futures of a pool that breaks."""
    s.begin('initializer_awaited')
    gate = s.fresh('g')
    end = s.rng.choice([('raise', 'ValueError', 'no-start'), ('panic', 'boom')])
    pool = Pool(s, 1, '-', [('gate', gate), end])
    for _ in range(s.rng.randint(1, 3)):
        pool.submit([s.end_of_body()])
    s.do('spawn', 't0', [('wait', 'none', 'ALL_COMPLETED', *pool.names)])
    s.do('pause')
    s.do('open', gate)
    s.do('join', 't0')
    s.do('shutdown', 'true', 'true')


def scenario_drop(s):
    """The pool is dropped with work queued."""
    s.begin('drop')
    pool = Pool(s, s.rng.choice([1, 2]), s.rng.choice(['-', 'gone']))
    if s.rng.random() < 0.8:
        pool.fill()
    for _ in range(s.rng.randint(0, 3)):
        pool.submit([('note',), s.end_of_body()])
        if s.rng.random() < 0.3:
            s.do('cancel', pool.names[-1])
    if s.rng.random() < 0.3:
        s.do('shutdown', 'false', 'false')
    s.do('drop', 'pool')
    pool.open_all()
    s.do('ended')
    for name in pool.names:
        s.do('repr', name)


def scenario_names(s):
    """The names and the number of threads, with every worker busy or certainly idle."""
    s.begin('names', s.rng.choice(['i32', '()', 'bool']))
    workers = s.rng.choice([1, 2, 3])
    pool = Pool(s, workers, s.rng.choice(['-', 'fetch', 'my-pool', 'a.b']))
    s.do('max_workers')
    s.do('thread_count')
    if s.rng.random() < 0.5:
        for _ in range(s.rng.randint(1, 3)):
            pool.submit([('thread_name',), ('return', s.random_value())])
        s.do('thread_count')
    for _ in range(s.rng.randint(0, workers)):
        pool.submit([('thread_name',), ('gate', s.fresh('g')), ('return', s.random_value())])
        s.do('thread_count')
    if pool.all_blocked():
        for _ in range(s.rng.randint(0, 2)):
            pool.submit([('return', s.random_value())])
        s.do('queue_size')
    pool.open_all()
    s.do('thread_count')
    pool.submit([('return', s.random_value())])
    s.do('thread_count')
    s.do('shutdown', 'true', 'false')
    s.do('thread_count')


def scenario_arguments(s):
    s.begin('arguments')
    s.do('pool', 0, '-')
    s.do('pool', s.rng.randint(1, 9), '-')
    s.do('max_workers')
    s.do('thread_count')
    s.do('shutdown', boolean(s), boolean(s))
    s.do('submit', 'p0', [('note',), ('return', s.random_value())])


# What CPython hangs in.

def scenario_cancelled_not_picked_up(s):
    """gh-92001, gh-87893, gh-109934."""
    s.begin('cancelled_not_picked_up')
    pool = Pool(s, s.rng.choice([1, 2]))
    pool.fill()
    held = list(pool.names)
    queued = [pool.submit([('note',), ('return', s.random_value())]) for _ in range(s.rng.randint(1, 3))]
    if s.rng.random() < 0.5:
        s.do('shutdown', 'false', 'true')
        if s.rng.random() < 0.5:
            pool.open_all()
            queued = s.rng.sample(held + queued, len(held + queued))
    else:
        for name in queued:
            s.do('cancel', name)
    how = s.rng.choice(['ALL_COMPLETED', 'ALL_COMPLETED', 'collect', 'FIRST_COMPLETED', 'FIRST_EXCEPTION'])
    if how == 'collect':
        s.do('collect', 'none', *queued, hang=[('repr', queued[0])])
    else:
        s.do('wait', 'none', how, *queued, hang=[('repr', queued[0])])
    pool.open_all()
    s.do('ended') if s.context.pool._shutdown else s.do('shutdown', 'true', 'true')


def scenario_callback_under_lock(s):
    """A callback needs the lock under which it is called."""
    s.begin('callback_under_lock')
    inner = s.rng.choice([('submit', 'p9', [('return', s.random_value())]), ('shutdown', 'false', boolean(s))])
    gate = s.fresh('g')
    if s.rng.random() < 0.5:
        pool = Pool(s, 1)
        pool.submit([('gate', gate), ('return', s.random_value())])
        trigger = ('shutdown', 'false', 'true')
    else:
        pool = Pool(s, 1, '-', [('gate', gate), ('raise', 'ValueError', 'no-start')])
        trigger = ('open', gate)
    names = [pool.submit([('note',), ('return', s.random_value())]) for _ in range(s.rng.randint(1, 3))]
    victim = s.rng.choice(names)
    s.do('add_done_callback', victim, 'c0', [inner])
    s.do(*trigger, hang=[('settle', *names), *(('done', name) for name in names)])
    pool.open_all()
    s.do('ended')


def scenario_initializer_and_cancelled(s):
    """The initializer fails while a cancelled future is queued."""
    s.begin('initializer_and_cancelled')
    gate = s.fresh('g')
    pool = Pool(s, 1, '-', [('gate', gate), ('raise', 'ValueError', 'no-start')])
    names = [pool.submit([('note',), ('return', s.random_value())]) for _ in range(s.rng.randint(2, 4))]
    cancelled = s.rng.randrange(len(names) - 1)
    s.do('cancel', names[cancelled])
    s.do('open', gate)
    after = [('cancelled', names[cancelled]), *(('exception', name, 'none') for name in names[cancelled + 2:])]
    s.do('exception', names[cancelled + 1], 'none', hang=after)
    for action in after:
        s.do(*action)


def scenario_completed_from_outside(s):
    """Somebody else completes a pool's future."""
    s.begin('completed_from_outside')
    pool = Pool(s, 1)
    first, gate = pool.gated(('return', s.random_value()))
    name = first
    if s.rng.random() < 0.4:
        name = pool.submit([('note',), ('return', s.random_value())])
    s.do(*s.rng.choice([('set_result', name, s.random_value()), ('set_exception', name, 'AppError', 'outside')]))
    s.do('open', gate)
    after = [pool.submit([('return', s.random_value())]) for _ in range(s.rng.randint(1, 2))]
    s.do('result', after[0], 'none', hang=[*(('result', name, 'none') for name in after[1:]), ('repr', name)])
    s.do('shutdown', 'true', 'false')


def scenario_join_itself(s):
    """A worker calls `shutdown(wait=True)`."""
    s.begin('join_itself')
    pool = Pool(s, s.rng.choice([1, 2]))
    if pool.max_workers == 2 and s.rng.random() < 0.5:
        pool.submit([('return', s.random_value())])
    gate = s.fresh('g')
    first = pool.submit([('gate', gate), ('shutdown', 'true', boolean(s)), ('return', s.random_value())])
    if pool.max_workers == 1:
        for _ in range(s.rng.randint(0, 2)):
            pool.submit([('note',), ('return', s.random_value())])
    s.do('open', gate)
    s.do('repr', first)
    s.do('submit', s.fresh('p'), [('return', s.random_value())])
    s.do('ended')
    for name in pool.names:
        s.do('repr', name)


# Kinds and how many of a thousand scenarios are of each.
KINDS = [
    (scenario_future, 270),
    (scenario_states, 100),
    (scenario_chain, 10),
    (scenario_wait, 130),
    (scenario_as_completed, 130),
    (scenario_blocked, 60),
    (scenario_churn, 2),
    (scenario_pool, 120),
    (scenario_map, 50),
    (scenario_map_not_begun, 3),
    (scenario_shutdown, 50),
    (scenario_shutdown_in_task, 8),
    (scenario_initializer, 20),
    (scenario_initializer_awaited, 3),
    (scenario_drop, 15),
    (scenario_names, 10),
    (scenario_arguments, 2),
    (scenario_cancelled_not_picked_up, 8),
    (scenario_callback_under_lock, 4),
    (scenario_initializer_and_cancelled, 3),
    (scenario_completed_from_outside, 3),
    (scenario_join_itself, 2),
]


# ---- running them

def record(seed, index):
    """The lines of one scenario. It runs on a thread that is left behind should it hang."""
    scenario = Scenario(seed, index)
    kind = scenario.rng.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0]
    ended = threading.Event()
    failures = []

    def run():
        try:
            kind(scenario)
        except BaseException as error:
            failures.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while not ended.wait(0.05):
        if scenario.current is not None and time.monotonic() - scenario.started > scenario.limit:
            if not ended.is_set():
                scenario.hung()
                return scenario.lines
    if failures:
        raise RuntimeError(f'the recorder failed in scenario {index}') from failures[0]
    # Workers that are still at a gate, or wait for work, are to end.
    context = scenario.context
    for gate in context.gates.values():
        gate.opened.set()
    if context.pool is not None:
        context.pool.shutdown(wait=False)
    return scenario.lines


def work(record, seed, count, part, path):
    logging.getLogger('concurrent.futures').propagate = False
    logging.getLogger('concurrent.futures').addHandler(LogHandler())
    # A worker thread that dies of an exception, which is CPython's way in some scenarios.
    threading.excepthook = lambda args: None
    with open(path, 'w', encoding='utf-8') as out:
        for index in range(part, count, PROCESSES):
            out.write('\n'.join(record(seed, index)) + '\n\f\n')
    # Threads that hang are left behind.
    sys.stderr.flush()
    out.close()
    os._exit(0)


def main(program=os.path.abspath(__file__), record=record):
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--seed', required=True, help='any text; the same seed gives the same file')
    parser.add_argument('--count', type=int, required=True, help='how many scenarios')
    parser.add_argument('--out', required=True, help='the file to write')
    parser.add_argument('--part', type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if sys.version_info < (3, 13):
        parser.error('needs Python 3.13 or later, this is %d.%d' % sys.version_info[:2])
    if arguments.part is not None:
        work(record, arguments.seed, arguments.count, arguments.part, arguments.out)
    with tempfile.TemporaryDirectory() as directory:
        parts = []
        for part in range(PROCESSES):
            path = os.path.join(directory, str(part))
            command = [sys.executable, program, '--seed', arguments.seed]
            command += ['--count', str(arguments.count), '--out', path, '--part', str(part)]
            parts.append((subprocess.Popen(command), path))
        recorded = []
        for process, path in parts:
            if process.wait() != 0:
                sys.exit('a process of the recorder has failed')
            with open(path, encoding='utf-8') as lines:
                recorded.append(lines.read().split('\f\n'))
    with open(arguments.out, 'w', encoding='utf-8', newline='\n') as out:
        out.write(f'concurrent-futures traces {FORMAT}\n')
        out.write('python %d.%d.%d\n' % sys.version_info[:3])
        out.write(f'seed {arguments.seed}\ncount {arguments.count}\n')
        for index in range(arguments.count):
            out.write('\n' + recorded[index % PROCESSES][index // PROCESSES])


if __name__ == '__main__':
    main()
