// Python in a thread of its own, so that the page stays awake and Stop can end it.
const here = name => new URL(name, import.meta.url);
const send = (kind, ...parts) => postMessage({ kind, parts });

// Counts what arrives, for the progress bar.
const plainFetch = self.fetch;
let bytes = 0, told = 0;
self.fetch = async (...request) => {
  const response = await plainFetch(...request);
  if (!response.body) return response;
  const counted = response.body.pipeThrough(new TransformStream({
    transform(chunk, next) {
      bytes += chunk.length;
      if (bytes - told > 2e5) send("bytes", told = bytes);
      next.enqueue(chunk);
    },
  }));
  return new Response(counted, { status: response.status, headers: response.headers });
};

async function load() {
  const pin = await (await fetch(here("pyodide.json"))).json();
  const wheels = await (await fetch(here("wheels.json"))).json();
  send("stage", "Python", pin.megabytes);
  const { loadPyodide } = await import(`${pin.address}pyodide.mjs`);
  const python = await loadPyodide({ indexURL: pin.address });
  send("stage", "NumPy and matplotlib", pin.megabytes);
  // Wheels by address are installed as they are: nothing looks for anything elsewhere.
  await python.loadPackage([...pin.packages, ...wheels.map(name => here(name).href)], { messageCallback: () => {} });
  send("stage", "starting", pin.megabytes);
  python.FS.writeFile("/home/pyodide/live_cells.py", await (await fetch(here("live_cells.py"))).text());
  const cells = python.pyimport("live_cells");
  cells.send = send;
  send("bytes", bytes);
  return cells;
}

const loading = load();
loading.then(() => send("ready"), error => send("failed", String(error.message ?? error)));

onmessage = async ({ data: { task, code, name } }) => {
  const cells = await loading;
  const start = performance.now();
  try {
    send("done", cells[task](code, name), (performance.now() - start) / 1000);
  } catch (error) { // not the cell's exception, which is told already: Python itself, out of memory or stack
    send("died", String(error.message ?? error));
  }
};
