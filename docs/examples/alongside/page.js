'use strict';
(() => {
const $ = (id) => document.getElementById(id);
const data = JSON.parse($('data').textContent);
const panes = { py: $('py'), rs: $('rs') };
const narrow = matchMedia('(max-width: 800px)');
const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// ---- What there is: an address is a file, a colon, and a name in it.

const articles = new Map();
const lines = new Map();
for (const article of document.querySelectorAll('article')) {
  articles.set(article.dataset.file, article);
  // As they are now: rows and folds come between them later.
  lines.set(article.dataset.file, [...article.querySelector('.l') ? article.querySelector('.code').children : []]);
}
// And their words, before there is anything in the margin.
const texts = new Map([...lines].map(([file, all]) => [file, all.map((line) => line.textContent)]));
const fileOf = (id) => id.slice(0, id.indexOf(':'));
const nameOf = (id) => id.slice(id.indexOf(':') + 1);
const sideOf = (id) => fileOf(id).endsWith('.py') ? 'py' : 'rs';
const exists = (id) => Object.hasOwn(data.defs, id);
const lineOf = (id) => exists(id) ? lines.get(fileOf(id))[data.defs[id][0]] : null;
const linesOf = (id) => exists(id) ? lines.get(fileOf(id)).slice(data.defs[id][0], data.defs[id][1] + 1) : [];
const isShown = (line) => line !== null && line.offsetParent !== null;

const rowByPy = new Map(data.rows.map((row) => [row.py, row]));
const rowByRs = new Map();
for (const row of data.rows) for (const id of row.rs) if (!rowByRs.has(id)) rowByRs.set(id, row);
const oursByRs = new Map();
for (const row of data.ours) for (const id of row.rs) if (!oursByRs.has(id)) oursByRs.set(id, row);
const rowOf = (id) => rowByPy.get(id) || rowByRs.get(id);
const divergencesAt = new Map();
for (const it of data.divergences) {
  for (const id of it.at) divergencesAt.set(id, [...divergencesAt.get(id) || [], it]);
}
const stopsAt = new Map();
for (const stop of data.stops) {
  for (const id of [...stop.py, ...stop.rs]) stopsAt.set(id, [...stopsAt.get(id) || [], stop]);
}
// Where the reader of one file comes from another: `thread/` belongs to `thread.rs`.
const pairOf = (file) => data.pairs.findIndex((pair) => {
  return pair.includes(file) || file.startsWith(pair[1].replace('.rs', '/'));
});

// ---- The margin

const opened = new Map();
function toggle(key, line, divergences, button) {
  const old = opened.get(key);
  if (old) {
    old.remove();
    opened.delete(key);
  } else {
    const row = make('div', { className: 'row' });
    for (const it of divergences) {
      row.append(make('h3', { innerHTML: `Row ${it.n}: ${it.title}` }), make('dl', { innerHTML: it.html }));
    }
    line.after(row);
    opened.set(key, row);
  }
  button.setAttribute('aria-expanded', String(!old));
  anchors = null;
}

function margin(row) {
  const line = lineOf(row.py) || lineOf(row.rs[0] || '');
  if (!line) return;
  line.classList.add('tied');
  if (lineOf(row.rs[0] || '')) lineOf(row.rs[0]).classList.add('tied');
  const margin = line.querySelector('.margin') || make('span', { className: 'margin' });
  const was = { changed: ['\u0394', 'Not what it was in 3.13'], new: ['+', 'New since 3.13'] }[row.state];
  if (was) margin.append(make('button', { className: 'was', title: was[1], textContent: was[0], onclick: () => choose(row.py) }));
  if (!row.rs.length && (row.state !== 'new' || row.note)) {
    margin.append(make('button', { title: 'No counterpart here', textContent: '\u2205', onclick: () => choose(row.py) }));
  }
  const all = divergencesAt.get(row.py) || [];
  const groups = all.length > 3 ? [all] : all.map((it) => [it]);
  for (const group of groups) {
    const key = `${row.py} ${group.map((it) => it.n)}`;
    const title = group.length > 1 ? 'Rows of divergences.md' : `Row ${group[0].n} of divergences.md`;
    const button = make('button', { title, textContent: group.length > 1 ? `${group.length} rows` : group[0].n });
    button.setAttribute('aria-expanded', 'false');
    button.onclick = () => toggle(key, line, group, button);
    button.dataset.rows = group.map((it) => it.n).join(' ');
    margin.append(button);
  }
  // Before the words, which go around it.
  if (margin.childElementCount) line.prepend(margin);
}

// ---- Which files, and which of their lines

function related(stop) {
  const ids = new Set([...stop.py, ...stop.rs]);
  for (const id of stop.py) for (const other of rowByPy.get(id)?.rs || []) ids.add(other);
  for (const id of stop.rs) if (rowByRs.has(id)) ids.add(rowByRs.get(id).py);
  return ids;
}

let filter = '';
function show(wanted) {
  const [kind, number] = wanted.split('-');
  filter = wanted;
  $('filter').value = wanted;
  for (const fold of document.querySelectorAll('.fold')) fold.remove();
  for (const all of lines.values()) for (const line of all) line.hidden = false;
  const kept = new Map();
  if (kind === 'story') {
    for (const stop of data.stops.filter((stop) => stop.story === Number(number))) {
      for (const id of related(stop)) keep(kept, id);
    }
  }
  for (const [file, article] of articles) {
    if (kind === 'story') article.hidden = !kept.has(file);
    else if (kind === 'pair') article.hidden = pairOf(file) !== Number(number);
    else if (kind === 'rest') article.hidden = pairOf(file) >= 0;
    else article.hidden = false;
    if (kind === 'story' && !article.hidden) fold(file, kept.get(file));
  }
  for (const [key, row] of opened) {
    row.hidden = row.previousElementSibling !== null && !isShown(lineOf(key.split(' ')[0]));
  }
  clear();
  for (const pane of Object.values(panes)) scrollTo(pane, 0);
  anchors = null;
}

function keep(kept, id) {
  if (!exists(id)) return;
  const file = fileOf(id);
  if (!kept.has(file)) kept.set(file, new Set());
  const set = kept.get(file);
  const all = texts.get(file);
  const [first, last] = data.defs[id];
  for (let line = first; line <= last; line++) set.add(line);
  // What stands before it and belongs to it.
  for (let line = first - 1; line >= 0 && /^\s*(\/\/|#|@)/.test(all[line]); line--) set.add(line);
  // What it is in.
  const outer = id.replace(/(\.|::)\w+$/, '');
  if (outer !== id && exists(outer)) set.add(data.defs[outer][0]);
}

function fold(file, kept) {
  const all = lines.get(file);
  for (let line = 0; line < all.length;) {
    const from = line;
    while (line < all.length && !kept.has(line)) line++;
    if (line > from) {
      const run = all.slice(from, line);
      const button = make('button', { className: 'fold', textContent: `\u22ef ${run.length} ${run.length > 1 ? 'lines' : 'line'}` });
      button.onclick = () => {
        for (const it of run) it.hidden = false;
        button.remove();
        anchors = null;
      };
      for (const it of run) it.hidden = true;
      run[0].before(button);
      run.forEach((it) => { it.fold = button; });
    }
    while (line < all.length && kept.has(line)) line++;
  }
}

/// Makes a line visible, with as little change as that takes.
function reveal(id, line) {
  const file = fileOf(id);
  if (articles.get(file).hidden) show(pairOf(file) >= 0 ? `pair-${pairOf(file)}` : 'rest');
  if (line.hidden && line.fold) line.fold.click();
}

// ---- Scrolling

/// How far below a pane's upper edge two definitions are level.
const LEVEL = 64;
let anchors = null;
const quiet = new Map();
function scrollTo(pane, top) {
  pane.scrollTop = top;
  // This scroll is ours, and carries nobody.
  quiet.set(pane, pane.scrollTop);
}
function heightIn(pane, element, bottom) {
  const rectangle = element.getBoundingClientRect();
  return (bottom ? rectangle.bottom : rectangle.top) - pane.getBoundingClientRect().top + pane.scrollTop;
}

function findAnchors() {
  const found = [];
  for (const row of data.rows) {
    const [left, right] = [lineOf(row.py), lineOf(row.rs[0] || '')];
    if (row.ordered && isShown(left) && isShown(right)) {
      found.push([heightIn(panes.py, left), heightIn(panes.rs, right)]);
    }
  }
  for (const [left, right] of data.pairs.map((pair) => pair.map((file) => articles.get(file)))) {
    if (left && !left.hidden && !right.hidden) {
      found.push([heightIn(panes.py, left, true), heightIn(panes.rs, right, true)]);
    }
  }
  found.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  // The longest run of these that goes down on both sides: what CPython has moved since does not count.
  const best = found.map(() => ({ length: 1, previous: -1 }));
  let last = -1;
  found.forEach(([, right], at) => {
    for (let before = 0; before < at; before++) {
      if (found[before][1] <= right && best[before].length >= best[at].length) {
        best[at] = { length: best[before].length + 1, previous: before };
      }
    }
    if (last < 0 || best[at].length > best[last].length) last = at;
  });
  const run = [];
  for (let at = last; at >= 0; at = best[at].previous) run.unshift(found[at]);
  return [[0, 0], ...run];
}

function counterpart(height, from, to) {
  if (anchors === null) anchors = findAnchors();
  let at = anchors.findIndex((anchor) => anchor[from] > height);
  if (at < 0) at = anchors.length;
  const before = anchors[Math.max(at - 1, 0)];
  const after = anchors[at];
  if (!after) return before[to] + height - before[from];
  const part = (height - before[from]) / (after[from] - before[from]);
  return before[to] + part * (after[to] - before[to]);
}

function carry(pane) {
  if (anchors === null) anchors = findAnchors();
  if (anchors.length < 2) return;
  const [from, to] = pane === panes.py ? [0, 1] : [1, 0];
  const other = pane === panes.py ? panes.rs : panes.py;
  scrollTo(other, Math.round(counterpart(pane.scrollTop + LEVEL, from, to) - LEVEL));
}
for (const pane of Object.values(panes)) {
  pane.addEventListener('scroll', () => {
    if (quiet.has(pane) && Math.abs(pane.scrollTop - quiet.get(pane)) <= 1) return;
    quiet.delete(pane);
    carry(pane);
  }, { passive: true });
}
addEventListener('resize', () => { anchors = null; side(document.body.dataset.side); });

// ---- Choosing

let chosen = null;
let stop = null;
let card = null;
function clear() {
  for (const line of document.querySelectorAll('.head, .in')) line.classList.remove('head', 'in');
  for (const link of document.querySelectorAll('[aria-current]')) link.removeAttribute('aria-current');
  if (card) card.remove();
  card = null;
}
function mark(id, strong) {
  for (const line of linesOf(id)) line.classList.add('in');
  const line = lineOf(id);
  if (line && strong) {
    line.classList.add('head');
    line.querySelector('.d')?.setAttribute('aria-current', 'true');
  }
}
function level(id) {
  const pane = panes[sideOf(id)];
  scrollTo(pane, Math.round(heightIn(pane, lineOf(id)) - LEVEL));
}

/// Brings a definition and its counterpart level, and marks both. `ours` chooses among several of ours.
function choose(id, { ours, keepStop, push = true } = {}) {
  const row = rowOf(id);
  const left = row ? row.py : null;
  const right = sideOf(id) === 'rs' ? id : ours || row?.rs[0] || null;
  if (!keepStop) stop = null;
  const both = [left, right].filter((it) => it && exists(it));
  if (!both.length && !row) return false;
  // The one that was asked for decides what is shown.
  for (const it of [id, ...both].filter(exists)) {
    if (it === id || isShown(articles.get(fileOf(it))) || !exists(id)) reveal(it, lineOf(it));
  }
  clear();
  for (const it of both) mark(it, true);
  if (stop) for (const it of [...stop.py, ...stop.rs]) mark(it, both.includes(it));
  anchors = null;
  if (left && exists(left) && isShown(lineOf(left))) level(left);
  if (right && exists(right) && isShown(lineOf(right))) {
    level(right);
    if (!(left && exists(left))) carryQuietly(panes.rs);
  } else if (left && exists(left)) {
    carry(panes.py);
    if (articles.size) place(row);
  }
  chosen = { id, left, right, row };
  describe();
  if (narrow.matches && sideOf(id) !== document.body.dataset.side && !exists(both.find((it) => sideOf(it) === document.body.dataset.side) || '')) {
    side(sideOf(id));
  }
  if (push) address(stop ? `stop-${stop.n}` : id);
  return true;
}
/// Ours has no counterpart there, but a place between two that have.
function carryQuietly(pane) {
  if (articles.size && panes.py.querySelector('article')) carry(pane);
}
/// The note of a definition without a counterpart stands where that would be.
function place(row) {
  const why = row.note || row.later || 'New since 3.13, for which the map was made.';
  card = make('div', { className: 'none', innerHTML: `<b>No counterpart here.</b> ${why}` });
  panes.rs.querySelector('.body').append(card);
  card.style.top = `${panes.rs.scrollTop + LEVEL - panes.rs.querySelector('.body').offsetTop}px`;
}

function link(id, text) {
  return make('a', { href: `#${id}`, textContent: text || nameOf(id) });
}
function describe() {
  const notes = $('notes');
  notes.replaceChildren();
  if (stop) {
    const box = make('div', { className: 'stop' });
    box.append(make('h3', { innerHTML: `Stop ${stop.n}: ${stop.title}` }), make('dl', { innerHTML: stop.html }));
    notes.append(box);
  }
  if (chosen) {
    const { left, row, right } = chosen;
    const pair = make('div', { className: 'pair' });
    const names = row ? row.rs : right ? [right] : [];
    if (left) pair.append(make('b', {}, exists(left) ? link(left) : nameOf(left)));
    pair.append(make('span', { className: 'arrow', textContent: left ? '\u2194' : 'here:' }));
    if (!names.length) pair.append(make('span', { textContent: row.state === 'new' && !row.note ? 'not in the map' : 'none' }));
    names.forEach((id) => pair.append(make('b', {}, link(id))));
    const text = row ? row.note : oursByRs.get(right)?.note;
    if (text) pair.append(make('span', { innerHTML: text }));
    notes.append(pair);
    if (row && row.state !== 'same') {
      const words = {
        changed: `is not what it was in 3.13.0, for which the map was made.`,
        gone: `is in 3.13, for which the map was made, and not in this Python.`,
        new: `is new since 3.13, for which the map was made.`,
      }[row.state];
      notes.append(make('p', { className: 'was', textContent: `${nameOf(row.py)} ${words}` }));
    }
    if (row?.later) notes.append(make('p', { innerHTML: `In 3.14: ${row.later}` }));
    const rows = (divergencesAt.get(left) || []).map((it) => {
      const details = make('details', {}, make('summary', { innerHTML: `Row ${it.n}: ${it.title}` }));
      details.append(make('dl', { innerHTML: it.html }));
      return details;
    });
    if (rows.length > 2) notes.append(make('details', {}, make('summary', { textContent: `Where the two differ: ${rows.length} rows` }), ...rows));
    else notes.append(...rows);
    const at = [...new Set([...stopsAt.get(left) || [], ...stopsAt.get(right) || []])].filter((it) => it !== stop);
    if (at.length) {
      notes.append(make('p', {}, 'In the guide: ', ...at.flatMap((it, n) => {
        return [n ? ', ' : '', make('a', { href: `#stop-${it.n}`, innerHTML: `${it.n}. ${it.title}` })];
      })));
    }
  }
  $('stops').value = stop ? stop.n : '';
  $('back').disabled = stop !== null && stop === data.stops[0];
  $('next').disabled = stop !== null && stop === data.stops[data.stops.length - 1];
  notes.scrollTop = 0;
}

// ---- The path, and the order of the keys

function visit(next, push = true) {
  if (!next) return;
  stop = next;
  if (filter.startsWith('story') && filter !== `story-${next.story}`) show(`story-${next.story}`);
  const first = next.py.find(exists) || next.rs.find(exists);
  const ours = next.rs.find((id) => exists(id) && rowByRs.get(id)?.py === first) || next.rs.find(exists);
  if (!first) {
    clear();
    chosen = null;
    describe();
  } else {
    choose(first, { ours: rowOf(first)?.rs.includes(ours) || !rowOf(first)?.rs.length ? ours : undefined, keepStop: true, push: false });
  }
  if (push) address(`stop-${next.n}`);
}
function step(by) {
  const at = data.stops.indexOf(stop);
  visit(data.stops[stop ? at + by : by > 0 ? 0 : data.stops.length - 1]);
}

/// What can be gone through with the keys: CPython's definitions, in its order, or ours where there are none.
function order() {
  let key = 0;
  const items = data.rows.map((row) => {
    const pair = pairOf(fileOf(row.py));
    // What is gone keeps its place behind the one before it.
    key = exists(row.py) ? data.defs[row.py][0] : key + 0.01;
    return { id: exists(row.py) ? row.py : row.rs[0] || '', pair, key };
  });
  items.sort((a, b) => a.pair - b.pair || a.key - b.key);
  const ids = items.map((item) => item.id).filter((id) => isShown(lineOf(id)));
  if (ids.length) return [...new Set(ids)];
  return Object.keys(data.defs).filter((id) => sideOf(id) === 'rs' && isShown(lineOf(id)));
}
function move(by) {
  const ids = order();
  if (!ids.length) return;
  const now = chosen && [chosen.left, chosen.id].map((id) => ids.indexOf(id)).find((at) => at >= 0);
  let at;
  if (now !== null && now !== undefined) {
    at = now + by;
  } else {
    const pane = panes[sideOf(ids[0])];
    const below = ids.findIndex((id) => heightIn(pane, lineOf(id)) > pane.scrollTop + LEVEL + 2);
    at = by > 0 ? below : (below < 0 ? ids.length : below) - 1;
  }
  if (at >= 0 && at < ids.length) choose(ids[at]);
}

// ---- Searching

let results = [];
let result = 0;
function search(words) {
  const wanted = words.trim().toLowerCase();
  results = [];
  if (wanted) {
    const names = Object.keys(data.defs).filter((id) => nameOf(id).toLowerCase().includes(wanted));
    const rank = (id) => {
      const name = nameOf(id).toLowerCase();
      const own = name.split(/\.|::/).pop();
      return (own === wanted ? 0 : own.startsWith(wanted) ? 1 : 2) + (rowOf(id) ? 0 : 0.5);
    };
    names.sort((a, b) => rank(a) - rank(b));
    results = names.slice(0, 40).map((id) => ({ id }));
    if (wanted.length > 2) {
      for (const [file, all] of texts) {
        all.forEach((text, number) => {
          if (results.length < 80 && text.toLowerCase().includes(wanted)) results.push({ file, number });
        });
      }
    }
  }
  result = 0;
  list();
}
function list() {
  const found = $('found');
  found.hidden = !results.length;
  found.replaceChildren(...results.map((it, at) => {
    const [text, where] = it.id ? [nameOf(it.id), fileOf(it.id)] : [texts.get(it.file)[it.number].trim(), `${it.file}:${it.number + 1}`];
    const button = make('button', { onclick: () => open(it) }, make('small', { textContent: where }), text);
    return make('li', { className: at === result ? 'at' : '' }, button);
  }));
  const at = found.querySelector('.at');
  if (at) found.scrollTop = Math.min(Math.max(found.scrollTop, at.offsetTop + at.offsetHeight - found.clientHeight), at.offsetTop);
}
function open(it) {
  $('found').hidden = true;
  $('search').blur();
  if (it.id) {
    side(sideOf(it.id));
    choose(it.id);
    return;
  }
  const line = lines.get(it.file)[it.number];
  const where = it.file.endsWith('.py') ? 'py' : 'rs';
  side(where);
  reveal(`${it.file}:`, line);
  clear();
  line.classList.add('head');
  scrollTo(panes[where], Math.round(heightIn(panes[where], line) - LEVEL));
  carry(panes[where]);
}

// ---- Addresses

function address(hash) {
  if (decodeURIComponent(location.hash.slice(1)) !== hash) history.pushState(null, '', `#${hash}`);
}
function follow() {
  let hash = location.hash.slice(1);
  try {
    hash = decodeURIComponent(hash);
  } catch {
    // As it is, then.
  }
  const [, kind, number] = /^(stop|row|pair|story)-(\d+)$/.exec(hash) || [];
  if (kind === 'stop') {
    visit(data.stops.find((it) => it.n === Number(number)), false);
  } else if (kind === 'row') {
    const row = data.divergences.find((it) => it.n === Number(number));
    const at = row?.at.find((id) => rowByPy.has(id));
    if (at && choose(at, { push: false })) {
      const line = lineOf(at) || lineOf(rowByPy.get(at).rs[0] || '');
      const button = [...line?.querySelectorAll('.margin button') || []].find((it) => it.dataset.rows?.split(' ').includes(number));
      if (button?.getAttribute('aria-expanded') === 'false') button.click();
    }
  } else if (kind && $('filter').querySelector(`[value="${hash}"]`)) {
    show(hash);
  } else if (hash === 'rest') {
    show(hash);
  } else if (hash && (exists(hash) || rowByPy.has(hash))) {
    if (exists(hash)) side(sideOf(hash));
    choose(hash, { push: false });
  }
}

function side(to) {
  document.body.dataset.side = to;
  for (const button of document.querySelectorAll('.sides button')) {
    button.setAttribute('aria-pressed', String(button.dataset.to === to));
  }
  for (const [name, pane] of Object.entries(panes)) pane.inert = narrow.matches && name !== to;
}

// ---- Tying it together

for (const row of data.rows) margin(row);
const group = (label, options) => {
  const element = make('optgroup', { label });
  element.append(...options.map(([value, text]) => make('option', { value, textContent: text })));
  return element;
};
$('filter').append(
  group('A pair of files', [...data.pairs.map((pair, n) => [`pair-${n}`, pair.join(' and ')]), ['rest', 'What they stand on, and what is added']]),
  group('A story', data.stories.map((story, n) => [`story-${n}`, story.replaceAll('`', '')])),
);
$('stops').append(make('option', { value: '', textContent: 'A stop of the reading guide' }));
data.stories.forEach((story, n) => {
  const stops = data.stops.filter((it) => it.story === n);
  const plain = (html) => make('span', { innerHTML: html }).textContent;
  $('stops').append(group(story.replaceAll('`', ''), stops.map((it) => [it.n, `${it.n}. ${plain(it.title)}`])));
});

$('filter').onchange = (event) => {
  stop = null;
  chosen = null;
  show(event.target.value);
  describe();
  address(filter);
};
$('stops').onchange = (event) => visit(data.stops.find((it) => it.n === Number(event.target.value)));
$('back').onclick = () => step(-1);
$('next').onclick = () => step(1);
const keys = () => {
  $('keys').hidden = !$('keys').hidden;
  $('help').setAttribute('aria-expanded', String(!$('keys').hidden));
};
$('help').onclick = keys;
for (const button of document.querySelectorAll('.sides button')) button.onclick = () => side(button.dataset.to);
$('search').oninput = (event) => search(event.target.value);
$('search').onfocus = (event) => search(event.target.value);
$('search').onkeydown = (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (by && results.length) {
    result = (result + by + results.length) % results.length;
    list();
    event.preventDefault();
  } else if (event.key === 'Enter' && results[result]) {
    open(results[result]);
  } else if (event.key === 'Escape') {
    $('found').hidden = true;
    $('search').blur();
  }
};
addEventListener('pointerdown', (event) => {
  if (!event.target.closest('.search')) $('found').hidden = true;
});
addEventListener('click', (event) => {
  const anchor = event.target.closest('a[href^="#"]');
  if (!anchor || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const hash = anchor.getAttribute('href').slice(1);
  address(hash);
  const before = document.body.dataset.side;
  follow();
  // A name in the text chooses both, and the reader stays at this one.
  if (anchor.classList.contains('d')) side(before);
});
addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select')) return;
  const action = {
    j: () => move(1),
    k: () => move(-1),
    n: () => step(1),
    p: () => step(-1),
    s: () => side(document.body.dataset.side === 'py' ? 'rs' : 'py'),
    '/': () => { $('search').focus(); $('search').select(); },
    '?': keys,
    Escape: () => { if (!$('keys').hidden) keys(); },
  }[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});
addEventListener('hashchange', follow);

side(panes.py.querySelector('article') ? 'py' : 'rs');
show('pair-0');
describe();
follow();
})();
