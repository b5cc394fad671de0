// Repairs of the theme's pages for people who use a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  // What scrolls sideways must be reachable by keyboard.
  const scrolls = () => {
    for (const box of document.querySelectorAll(".pst-scrollable-table-container, div.highlight > pre, div.math, .cell_output"))
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  };
  scrolls();
  window.addEventListener("resize", scrolls);
  window.MathJax?.startup?.promise?.then(scrolls);

  for (const summary of document.querySelectorAll(".has-children > details > summary")) {
    const page = summary.closest(".has-children").querySelector("a");
    summary.setAttribute("aria-label", "Pages under " + (page ? page.textContent.trim() : "this one"));
  }
  for (const list of document.querySelectorAll(".citation-list, [role=doc-biblioentry]")) list.removeAttribute("role");
});
