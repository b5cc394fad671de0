// The live cells of a page: an editor in place of each code cell, and a worker that runs them one after the other.
import {
  EditorState, EditorView, bracketMatching, classHighlighter, defaultKeymap, history, historyKeymap, indentOnInput,
  indentUnit, keymap, pythonLanguage, syntaxHighlighting,
} from "../codemirror/codemirror.mjs";

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const button = (text, onclick, label = text) => {
  const element = make("button", { type: "button", textContent: text, onclick });
  element.setAttribute("aria-label", label);
  return element;
};

const FIGURE = "img, .minigen-scrub";

// What the reader wrote, and which tests it passed, stays in this browser.
const key = `live:${location.pathname}`;
const kept = (() => { try { return JSON.parse(localStorage.getItem(key)) ?? {}; } catch { return {}; } })();
const keep = () => { try { localStorage.setItem(key, JSON.stringify(kept)); } catch { /* no room, or not allowed */ } };

const cells = [];
let worker, current, status, progress, stopButton, ready = false;
const waiting = []; // cells that "Run all" still has to run

const say = text => { status.textContent = text; };

class Cell {
  constructor(element, number) {
    Object.assign(this, { element, number, name: `<cell ${number}>`, ran: undefined });
    this.kind = ["answer", "test"].find(kind => element.classList.contains(`tag_${kind}`)) ?? "code";
    this.input = element.querySelector(".cell_input");
    this.original = this.input.querySelector("pre").textContent.trimEnd();
    this.output = element.querySelector(".cell_output") ?? make("div", { className: "cell_output docutils container" });
    this.built = [...this.output.childNodes];
    const tools = make("div", { className: "live-tools", role: "group" });
    tools.setAttribute("aria-label", `Cell ${number}`);
    if (this.kind === "test") {
      tools.append(button("Check", () => check(this), `Check exercise cell ${number}`));
      if (kept[number]?.original === this.original) this.mark(kept[number].passed);
    } else {
      this.edit();
      tools.append(
        button("Run", () => run([this]), `Run cell ${number}`),
        button("Run all above", () => run(above(this)), `Run all cells above cell ${number}`),
        button("Reset", () => this.reset(), `Reset cell ${number}`),
      );
    }
    tools.append(make("span", { textContent: `cell ${number}` })); // as tracebacks name it
    this.input.append(tools);
    if (!this.output.isConnected) element.append(this.output);
  }

  edit() {
    const saved = kept[this.number];
    this.editor = new EditorView({
      doc: saved?.original === this.original ? saved.text : this.original,
      extensions: [
        keymap.of([{ key: "Shift-Enter", run: () => { run([this]); return true; } }]),
        keymap.of([...defaultKeymap, ...historyKeymap]), // Tab is not among them: it leaves the editor
        history(), indentOnInput(), bracketMatching(), indentUnit.of("    "), pythonLanguage,
        syntaxHighlighting(classHighlighter),
        EditorView.contentAttributes.of({ "aria-label": `Code of cell ${this.number}`, tabindex: "0" }),
        EditorView.updateListener.of(update => { if (update.docChanged) this.save(); }),
      ],
    });
    this.input.querySelector("[class^=highlight-]").replaceWith(this.editor.dom);
    // Sphinx takes a bare "/" anywhere on the page for "search": what is typed here stays here.
    this.editor.dom.addEventListener("keydown", event => { if (!event.ctrlKey && !event.metaKey) event.stopPropagation(); });
  }

  get text() { return this.editor ? this.editor.state.doc.toString() : this.original; }
  get edited() { return this.text !== this.original; }

  save() {
    if (this.edited) kept[this.number] = { original: this.original, text: this.text };
    else delete kept[this.number];
    keep();
  }

  reset() {
    if (current === this) return;
    this.editor.dispatch({ changes: { from: 0, to: this.editor.state.doc.length, insert: this.original } });
    this.output.replaceChildren(...this.built);
    this.element.classList.remove("live-ran", "live-failed");
    say(`Cell ${this.number} is as it was built.`);
  }

  begin() {
    this.fresh = false; // the old output stays until there is a new one, so that the page does not jump
    this.figures = 0;
    this.tests = [0, 0];
    this.output.setAttribute("aria-busy", "true");
    this.element.classList.remove("live-ran", "live-failed");
  }

  put(element) {
    if (!this.fresh) this.output.replaceChildren();
    this.fresh = true;
    if (element) this.output.append(element);
  }

  write(text, kind) { // neighbouring texts share one block
    const last = this.fresh && this.output.lastElementChild;
    if (last && last.dataset.kind === kind) return last.querySelector("pre").append(text);
    const block = make("div", { className: "output stream notranslate" },
      make("div", { className: "highlight" }, make("pre", {}, text)));
    block.dataset.kind = kind;
    this.put(block);
  }

  // Puts a figure where the built one stood, so that its caption and its anchor stay; returns the old figure.
  figure(fresh) {
    const frames = this.built.filter(node => node.querySelector?.(FIGURE) ?? node.matches?.(FIGURE));
    const frame = make("div", {}, frames[this.figures++]?.cloneNode(true) ?? make("img"));
    const old = frame.querySelector(FIGURE);
    (old.closest("a") ?? old).replaceWith(fresh);
    this.put(frame);
    return old;
  }

  image(png) {
    const img = make("img", { src: `data:image/png;base64,${png}` });
    img.onload = () => { img.style.width = `${img.naturalWidth / 2}px`; };
    const { alt } = this.figure(img);
    img.alt = this.edited ? `Figure drawn by the edited cell. Before the edit: ${alt || "no figure"}` : alt || "Figure";
  }

  html(text) {
    const place = make("span");
    this.figure(place);
    place.replaceWith(document.createRange().createContextualFragment(text)); // so made, its scripts run
  }

  source(text) { // in the book's colours, where it is what the book shows
    const built = this.built.find(node => node.textContent.trim() === text.trim());
    if (built) this.put(built.cloneNode(true));
    else this.write(`${text}\n`, "text");
  }

  test(claim, holds, hint) {
    this.tests[0] += holds;
    this.tests[1] += 1;
    let list = this.fresh && this.output.querySelector("ul.live-tests");
    if (!list) this.put(list = make("ul", { className: "live-tests" }));
    const item = make("li", { className: holds ? "live-pass" : "live-miss" },
      holds ? "passes: " : "does not pass: ", make("code", { textContent: claim }));
    if (hint) item.append(make("div", { textContent: `Hint: ${hint}` }));
    list.append(item);
  }

  mark(text) {
    let note = this.element.querySelector(".live-progress");
    if (!note) this.input.after(note = make("p", { className: "live-progress" }));
    note.textContent = text;
  }

  end(ok, seconds) {
    if (!this.fresh) this.put();
    this.ran = ok ? this.text : undefined;
    this.output.removeAttribute("aria-busy");
    this.element.classList.add(ok ? "live-ran" : "live-failed");
    this.element.dataset.seconds = seconds.toFixed(3);
    if (this.kind === "test") {
      const broke = !ok && this.tests[0] === this.tests[1]; // every test that was reached passes
      const passed = `${this.tests[0]} of ${this.tests[1]} visible tests pass${broke ? ", then an error" : ""}.`;
      kept[this.number] = { original: this.original, passed };
      keep();
      this.mark(passed);
      say(passed);
    } else say(`Cell ${this.number} of ${cells.length} ${ok ? "has run" : "raised an error"} (${seconds.toFixed(2)} s).`);
    window.dispatchEvent(new Event("resize")); // what scrolls sideways now is made reachable by keyboard, as at load
  }
}

const above = cell => cells.slice(0, cells.indexOf(cell)).filter(c => c.kind === "code" || (c.kind === "answer" && c.edited));

function check(test) {
  const answer = cells[cells.indexOf(test) - 1];
  run([...above(answer).filter(c => c.ran !== c.text), answer, test]);
}

function run(list) {
  waiting.push(...list.filter(cell => cell !== current && !waiting.includes(cell)));
  if (!worker) start();
  next();
}

function next() {
  if (!ready || current || !waiting.length) return;
  current = waiting.shift();
  current.begin();
  stopButton.disabled = false;
  say(`Cell ${current.number} of ${cells.length} is running.`);
  worker.postMessage({ task: current.kind === "test" ? "check" : "run", code: current.text, name: current.name });
}

function start() {
  worker = new Worker(new URL("worker.mjs", import.meta.url), { type: "module" });
  worker.onmessage = ({ data: { kind, parts } }) => handlers[kind](...parts);
  worker.onerror = event => handlers.failed(event.message ?? "the worker could not start");
  progress.hidden = false;
  stopButton.disabled = false;
  say("Loading Python.");
}

function stop(text) {
  worker?.terminate();
  worker = undefined;
  ready = false;
  waiting.length = 0;
  for (const cell of cells) cell.ran = undefined;
  current?.output.removeAttribute("aria-busy");
  current?.element.classList.add("live-failed");
  current = undefined;
  progress.hidden = true;
  stopButton.disabled = true;
  say(text);
}

const handlers = {
  stage(name, megabytes) {
    progress.max = megabytes * 1e6;
    say(name === "starting" ? "Starting Python." : `Loading ${name} (about ${megabytes} MB in all, kept by your browser).`);
  },
  bytes(count) {
    progress.value = count;
    progress.title = `${(count / 1e6).toFixed(1)} MB`;
    progress.dataset.bytes = count;
  },
  ready() {
    ready = true;
    progress.hidden = true;
    stopButton.disabled = !waiting.length;
    const written = cells.filter(cell => cell.edited).length;
    say(`Python is ready. ${written ? `Cells with what you wrote earlier: ${written}.` : "Edit a cell and press Shift+Enter."}`);
    next();
  },
  failed(reason) {
    stop(`Python could not be loaded: are you offline, or is its address blocked? The outputs on this page are still those of the book. (${reason})`);
  },
  text(text) { current?.write(text, "text"); },
  error(text, goesOn) {
    current?.write(text, "error");
    // What follows would only fail as well; after an answer that is only its own test.
    const left = current?.kind === "answer" ? waiting.filter(cell => cell !== cells[cells.indexOf(current) + 1]) : [];
    if (!goesOn) waiting.splice(0, Infinity, ...left);
    if (text.includes("NameError")) current?.write("\nIs it defined in a cell above? Press Run all above first.\n", "error");
  },
  died(reason) { stop(`Python broke down, and what the cells had computed is lost; the next run starts it anew. (${reason})`); },
  html(text) { current?.html(text); },
  source(text) { current?.source(text); },
  image(png) { current?.image(png); },
  test(...parts) { current?.test(...parts); },
  done(ok, seconds) {
    current.end(ok, seconds);
    current = undefined;
    stopButton.disabled = !waiting.length;
    next();
  },
};

// The page's own notebook with the reader's cells in it.
async function download() {
  const path = document.documentElement.dataset.content_root + "_sources/" + pagename() + ".ipynb";
  const notebook = await (await fetch(path)).json();
  let k = 0; // the notebook may hold cells that the page hides; those of the page stand in it in order, as they were
  for (const cell of notebook.cells.filter(cell => cell.cell_type === "code")) {
    if ([cell.source].flat().join("").trimEnd() !== cells[k]?.original) continue;
    if (cells[k].edited) Object.assign(cell, { source: cells[k].text, outputs: [], execution_count: null });
    k += 1;
  }
  if (k < cells.length) throw Error(`it has no cell ${k + 1} of this page`);
  const file = new Blob([JSON.stringify(notebook, null, 1) + "\n"], { type: "application/x-ipynb+json" });
  const link = make("a", { href: URL.createObjectURL(file), download: pagename().split("/").pop() + ".ipynb" });
  link.click();
  URL.revokeObjectURL(link.href);
}

function pagename() {
  const root = new URL(document.documentElement.dataset.content_root, location.href).pathname;
  return location.pathname.slice(root.length).replace(/\.html$/, "");
}

export function open(bar) {
  status = bar.querySelector("[role=status]");
  progress = make("progress", { hidden: true, max: 1, value: 0 });
  progress.setAttribute("aria-label", "Loading Python");
  stopButton = button("Stop", () => stop("Stopped. What the cells had computed is lost; the next run starts Python anew."));
  document.querySelectorAll("div.cell:has(> .cell_input), div.cell:has(> details > .cell_input)").forEach((element, k) => {
    cells.push(new Cell(element, k + 1));
  });
  bar.append(
    button("Run all", () => run(cells.filter(cell => cell.kind === "code" || (cell.kind === "answer" && cell.edited)))),
    stopButton,
    button("Download notebook", () => download().catch(error => say(`The notebook could not be downloaded: ${error.message}.`))),
    progress,
    status,
  );
  bar.classList.add("live-open");
  start();
}
