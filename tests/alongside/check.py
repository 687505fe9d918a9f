"""Opens the page of the example `alongside` in a browser, and uses it as a reader does.

    python3 tests/alongside/check.py CHROMIUM PAGE [FOLDER]

With a folder, screenshots are put there, to be looked at.
"""

import json
import os
import re
import sys

from browser import Browser

WIDE, PHONE = (1280, 800), (390, 844)


def expect(what, holds, *details):
    if not holds:
        raise AssertionError(f"{what}: {details}")
    print(f"ok: {what}")


class Page:
    def __init__(self, browser, path):
        self.browser = browser
        self.url = "file://" + os.path.abspath(path)
        with open(path, encoding="utf-8") as file:
            self.text = file.read()
        self.data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', self.text, re.S).group(1))

    def open(self, hash=""):
        self.browser.open(self.url + ("#" + hash if hash else ""))

    def scroll(self, pane):
        return self.browser.run(f"document.getElementById('{pane}').scrollTop")

    def hash(self):
        return self.browser.run("decodeURIComponent(location.hash.slice(1))")

    def heads(self):
        """Name and height of each definition that is marked, by its pane, as far as they can be seen."""
        return self.browser.run(
            "Object.fromEntries([...document.querySelectorAll('.pane')].map((pane) => [pane.id, [...pane.querySelectorAll('.head')]"
            ".filter((line) => line.offsetParent).map((line) => [line.querySelector('.d')?.getAttribute('href').slice(1),"
            " Math.round(line.getBoundingClientRect().top)])]))"
        )

    def level(self):
        heads = self.heads()
        return len(heads["py"]) == 1 == len(heads["rs"]) and abs(heads["py"][0][1] - heads["rs"][0][1]) <= 2


def static(page):
    # Addresses in the text are text; in an attribute, or in a style, only a link has one.
    loaded = re.findall(r'<(?:img|link|script|iframe|object|embed|video|audio|source|form)\b[^>]*\b(?:src|href|data|action)="(?!data:)', page.text)
    styles = re.findall(r"@import|url\(", page.text[: page.text.index("</style>")])
    expect("nothing is to be loaded", not loaded and not styles, loaded, styles)
    expect("scripts are the page's own", page.text.count("<script") == 2)


def every_row(page):
    missing = [row for row in page.data["rows"] if any(id.startswith("?") for id in row["rs"])]
    expect("every name of the map is found", not missing, missing)
    page.open()
    bad = page.browser.run(
        """(async () => {
          const data = JSON.parse(document.getElementById('data').textContent);
          const go = (hash) => new Promise((done) => {
            addEventListener('hashchange', done, { once: true });
            location.hash = hash;
          });
          const bad = [];
          for (const row of data.rows) {
            await go(row.py);
            const heads = (pane) => [...document.querySelectorAll('#' + pane + ' .head')].filter((line) => line.offsetParent);
            const [left, right] = [heads('py'), heads('rs')];
            const has = (id) => Object.hasOwn(data.defs, id);
            const ours = row.rs.filter(has);
            const level = !left.length || !right.length ||
              Math.abs(left[0].getBoundingClientRect().top - right[0].getBoundingClientRect().top) <= 2;
            const note = document.querySelector('.none');
            if (left.length !== (has(row.py) ? 1 : 0) || right.length !== (ours.length ? 1 : 0) || !level) bad.push(row.py);
            else if (has(row.py) && !ours.length && !(note && note.textContent.length > 25)) bad.push(row.py + ' has no note');
          }
          return [data.rows.length, bad];
        })()"""
    )
    expect(f"each of {bad[0]} rows is found, marked and level", not bad[1], bad[1])
    dead = page.browser.run(
        """(() => {
          const data = JSON.parse(document.getElementById('data').textContent);
          const ids = [...data.stops.flatMap((stop) => [...stop.py, ...stop.rs]), ...data.divergences.flatMap((row) => row.at)];
          const known = new Set([...Object.keys(data.defs), ...data.rows.map((row) => row.py)]);
          const links = [...document.querySelectorAll('a.d')].map((link) => link.getAttribute('href').slice(1));
          return [...ids, ...links].filter((id) => !known.has(id));
        })()"""
    )
    expect("every address leads somewhere", not dead, dead)
    astray = [row["n"] for row in page.data["divergences"] if not row["at"]]
    expect("each divergence has its place", len(astray) * 10 <= len(page.data["divergences"]), astray)
    empty = [stop["n"] for stop in page.data["stops"] if not stop["py"] and not stop["rs"]]
    expect("each stop has its place", len(page.data["stops"]) >= 20 and not empty, empty)


def both_scroll(page):
    page.open("_base.py:_Waiter")
    expect("both sides of a link are level", page.level(), page.heads())
    left, right = page.scroll("py"), page.scroll("rs")
    page.browser.wheel(300, 400, 600)
    expect("the left side carries the right one", page.scroll("py") > left + 300 and page.scroll("rs") > right + 200)
    left, right = page.scroll("py"), page.scroll("rs")
    page.browser.wheel(1000, 400, -500)
    expect("and the right side the left one", page.scroll("rs") < right - 300 and page.scroll("py") < left - 100)
    # Definition by definition: wherever one side's is level with the mark, so is the other's.
    apart = page.browser.run(
        """(async () => {
          const data = JSON.parse(document.getElementById('data').textContent);
          const drawn = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          const top = (id) => [...document.querySelectorAll('a.d')].find((link) => link.getAttribute('href') === '#' + id)
            .closest('.l').getBoundingClientRect().top;
          const apart = [];
          const rows = data.rows.filter((row) => row.py.startsWith('_base') && row.rs[0]?.startsWith('_base.rs') && row.ordered && row.state === 'same');
          for (const row of rows.filter((_, n) => n % 4 === 3)) {
            const pane = document.getElementById('py');
            pane.scrollTop += top(row.py) - pane.getBoundingClientRect().top - 64;
            await drawn();
            if (Math.abs(top(row.py) - top(row.rs[0])) > 3) apart.push([row.py, top(row.py), top(row.rs[0])]);
          }
          return apart;
        })()"""
    )
    expect("definition by definition", len(apart) <= 1, apart)


def keys(page):
    page.open("_base.py:_Waiter")
    page.browser.key("j")
    expect("j goes on", page.hash() == "_base.py:_Waiter.__init__" and page.level(), page.hash())
    page.browser.key("k")
    expect("k goes back", page.hash() == "_base.py:_Waiter", page.hash())
    page.browser.key("n")
    expect("n is the first stop", page.hash() == "stop-1", page.hash())
    page.browser.key("n")
    page.browser.key("p")
    page.browser.click("#next")
    expect("next is the next one", page.hash() == "stop-2" and page.level(), page.hash())
    notes = page.browser.run("document.getElementById('notes').textContent")
    expect("a stop says what it is about", "Stop 2" in notes and "Exercise" in notes, notes)
    page.browser.run("history.back()")
    page.browser.settle()
    expect("the browser's way back is the way back", page.hash() == "stop-1", page.hash())
    page.browser.key("/")
    page.browser.type("invoke_call")
    found = page.browser.run("document.getElementById('found').textContent")
    expect("a name is found on both sides", "_base.py" in found and "_base.rs" in found, found)
    page.browser.key("Enter")
    expect("and chosen", page.hash().endswith("_invoke_callbacks") and page.level(), page.hash())
    page.browser.key("/")
    page.browser.run("document.getElementById('search').value = ''")
    page.browser.type("xqzv")
    expect("what is not there is not found", page.browser.run("document.getElementById('found').hidden"))
    page.browser.key("Escape")
    page.browser.key("?")
    expect("the keys are told", page.browser.run("!document.getElementById('keys').hidden"))


def links(page):
    page.open("row-12")
    text = page.browser.run("document.querySelector('.row')?.textContent")
    expect("a row is open in the margin", text and "Row 12" in text, text)
    page.open("thread.rs:_worker")
    expect("ours can be linked to", page.heads()["py"][0][0] == "thread.py:_worker" and page.level(), page.heads())
    page.open("process.py:_ThreadWakeup.wakeup")
    note = page.browser.run("document.querySelector('.none').textContent")
    expect("what has no counterpart has its note", "No counterpart here" in note and page.heads()["rs"] == [], note)
    page.open("stdlib/queue.rs:SimpleQueue")
    expect("what only we have is shown", page.heads()["rs"][0][0] == "stdlib/queue.rs:SimpleQueue", page.heads())
    page.open("nowhere")
    for nonsense in ("stop-99", "row-9999", "story-99", "%ff%zz", "__proto__", "_base.py:toString", "<b>"):
        page.browser.run(f"location.hash = {json.dumps(nonsense)}")
        page.browser.settle()
    expect("nonsense leads nowhere", page.heads() == {"py": [], "rs": []}, page.heads())
    page.open("story-2")
    folds = page.browser.run("document.querySelectorAll('.fold').length")
    files = page.browser.run("[...document.querySelectorAll('article')].filter((it) => it.offsetParent).map((it) => it.dataset.file)")
    expect("a story is of its definitions alone", folds > 3 and files[:2] == ["_base.py", "_base.rs"] and all(it.startswith("_base") for it in files), folds, files)
    page.browser.click(".fold")
    expect("and opens", page.browser.run("document.querySelectorAll('.fold').length") == folds - 1)
    page.browser.run("document.querySelector('#py a.d[href=\"#_base.py:_Waiter\"]').click()")
    page.browser.settle()
    expect("a click on a name chooses it", page.hash() == "_base.py:_Waiter" and page.level(), page.hash())


def landmarks(page):
    page.open()
    found = page.browser.run(
        "['header', 'main', 'nav[aria-label]', 'aside[aria-label]', 'section[aria-label]', '[role=search]', 'h1', 'html[lang]']"
        ".filter((it) => !document.querySelector(it))"
    )
    expect("there are landmarks", not found, found)
    nameless = page.browser.run(
        "[...document.querySelectorAll('button, select, input')].filter((it) => !(it.textContent.trim() || it.ariaLabel || it.labels?.length)).length"
    )
    expect("every control has a name", nameless == 0, nameless)


def phone(page):
    page.browser.size(*PHONE, phone=True)
    page.open("thread.py:_worker")
    wide = page.browser.run("[document.documentElement.scrollWidth, document.querySelector('header').scrollWidth, innerWidth]")
    expect("nothing is wider than the phone", max(wide[:2]) <= PHONE[0] and wide[2] == PHONE[0], wide)
    place = "(() => { const r = document.getElementById('%s').getBoundingClientRect(); return [r.left, r.right]; })()"
    left, right = page.browser.run(place % "py"), page.browser.run(place % "rs")
    expect("one pane at a time", left == [0, PHONE[0]] and right[0] >= PHONE[0], left, right)
    page.browser.click(".sides button[data-to=rs]")
    page.browser.run("new Promise((done) => setTimeout(done, 300))")
    right = page.browser.run(place % "rs")
    expect("the other one is level there", right == [0, PHONE[0]] and page.level(), right, page.heads())
    expect("and what is not seen cannot be reached", page.browser.run("document.getElementById('py').inert"))
    page.browser.size(*WIDE)


def no_python(page):
    page.open("_base.rs:wait")
    text = page.browser.run("document.getElementById('py').textContent")
    expect("without a Python, the page says so", "No Python was found" in text, text)
    expect("and shows ours", page.heads()["rs"][0][0] == "_base.rs:wait", page.heads())
    page.browser.key("j")
    expect("which the keys go through", page.hash().startswith("_base.rs:") and page.hash() != "_base.rs:wait", page.hash())


def shoot(page, folder):
    os.makedirs(folder, exist_ok=True)
    for name in ("_base.py:_Waiter", "_base.py:as_completed", "thread.py:_worker", "process.py:_process_worker"):
        for width, height, dark, is_phone in ((*WIDE, False, False), (1920, 1080, True, False), (*PHONE, False, True)):
            page.browser.size(width, height, dark, is_phone)
            page.open(name)
            page.browser.shoot(os.path.join(folder, f"{name.split(':')[1]}-{width}{'-dark' if dark else ''}.png"))


def main(program, path, folder=None):
    browser = Browser(program)
    try:
        page = Page(browser, path)
        browser.size(*WIDE)
        static(page)
        if page.data["python"] is None:
            no_python(page)
        else:
            for check in (every_row, both_scroll, keys, links, landmarks, phone):
                check(page)
        elsewhere = [url for url in browser.requests if not url.startswith(("about:", "data:")) and url.split("#")[0] != page.url]
        expect("nothing was fetched", not elsewhere, elsewhere)
        expect("nothing was complained of", not browser.complaints, browser.complaints)
        if folder:
            shoot(page, folder)
    finally:
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
