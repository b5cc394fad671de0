// "Run this page": a button under the title. Nothing else is loaded until a reader presses it.
(() => {
  const page = new URL("page.mjs", document.currentScript.src);
  document.addEventListener("DOMContentLoaded", () => {
    const title = document.querySelector("article h1");
    if (!title || !document.querySelector("div.cell .cell_input")) return;
    const bar = document.createElement("div");
    bar.className = "live-bar";
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "Live code");
    bar.innerHTML = '<button type="button">Run this page</button><p role="status"></p>';
    const [button, status] = bar.children;
    button.onclick = async () => {
      button.disabled = true;
      try {
        (await import(page)).open(bar);
        bar.querySelector("button + button, [role=status] ~ button")?.focus();
        button.remove();
      } catch (error) {
        button.disabled = false;
        status.textContent = `The editor could not be loaded: are you offline? (${error.message})`;
      }
    };
    title.after(bar);
  });
})();
