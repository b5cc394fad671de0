// Run inside the site's front page: puts every page of the book into this one, in order, for printing.
// `book` lists the parts as {caption, pages: [{name, level}]}; returns what a reader of the PDF should know.
async book => {
  const site = location.href.slice(0, -`${book[0].pages[0].name}.html`.length);
  const pages = book.flatMap(part => part.pages);
  const names = new Set(pages.map(page => page.name));
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  for (const page of pages) {
    const home = `${site}${page.name}.html`;
    const answer = await fetch(home);
    if (!answer.ok) throw new Error(`${home}: ${answer.status}`);
    page.article = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("article.bd-article");
    for (const element of page.article.querySelectorAll("[id]")) element.id = `${page.name}:${element.id}`;
    page.article.id = page.name;
    page.article.classList.toggle("chapter", page.level === 3);
    page.article.setAttribute("role", "presentation"); // one book, not fifty articles
    const rest = "script, a.headerlink, .viewcode-link, .minigen-scrub > :is(div, img:not([data-start]))";
    for (const element of page.article.querySelectorAll(rest)) element.remove();
    for (const img of page.article.querySelectorAll("img")) {
      img.src = new URL(img.getAttribute("src"), home);
      img.loading = "eager";
    }
    for (const link of page.article.querySelectorAll("a[href]")) {
      const url = new URL(link.getAttribute("href"), home);
      if (!url.href.startsWith(site)) continue;
      const name = url.pathname.slice(new URL(site).pathname.length).replace(/\.html$/, "");
      if (names.has(name)) link.href = `#${name}${url.hash.replace("#", ":")}`;
      else link.replaceWith(...link.childNodes); // a picture by itself, a listing: not in the PDF
    }
    // The outline follows the table of contents: parts, chapters, sections.
    for (const heading of page.article.querySelectorAll("h1, h2, h3, h4, h5, h6"))
      heading.ariaLevel = page.level + Number(heading.tagName[1]) - 1;
    page.title = page.article.querySelector("h1").textContent;
    for (const figure of page.article.querySelectorAll("figure")) figure.role = "group"; // the picture in it is the figure
    for (const fold of page.article.querySelectorAll("details")) fold.open = true;
    for (const code of page.article.querySelectorAll("pre"))
      code.classList.toggle("long", code.textContent.split("\n").length > 30); // the others stay on one page
  }

  const contents = make("article", { className: "bd-article contents-of-book" }, make("h2", { textContent: "Contents" }));
  const link = (id, text) => make("a", { href: `#${id}`, textContent: text });
  const body = [];
  book.forEach(({ caption, pages }, number) => {
    if (caption) {
      pages[0].article.prepend(make("h1", { id: `part-${number}`, className: "part", ariaLevel: 2, textContent: caption }));
      contents.append(make("p", {}, link(`part-${number}`, caption)));
      const chapters = pages.filter(page => page.level === 3);
      contents.append(make("ul", {}, ...chapters.map(page => make("li", {}, link(page.name, page.title)))));
    }
    body.push(...pages.map(page => page.article));
    if (!number) body.push(contents);
  });
  const [main, content, container] = ["main", ".bd-content", ".bd-article-container"].map(name => document.querySelector(name));
  container.replaceChildren(...body);
  content.replaceChildren(container);
  main.replaceChildren(content);
  document.body.replaceChildren(main);
  document.title = pages[0].title;

  await MathJax.startup.promise;
  await MathJax.typesetPromise();
  for (const { math, typesetRoot: set } of MathJax.startup.document.math) { // read as TeX, not letter by letter
    set.setAttribute("role", "img");
    set.ariaLabel = math.trim();
    set.querySelector("mjx-assistive-mml").remove();
  }
  // A tag for each word that is coloured, not for each. All are looked at before any is changed: a change of the page
  // lets the next look compute its styles anew, for minutes.
  const colour = element => getComputedStyle(element).color;
  const words = [...container.querySelectorAll("pre span:not(:has(span))")];
  for (const word of words.filter(word => colour(word) === colour(word.closest("pre")))) word.replaceWith(...word.childNodes);
  container.normalize();

  const wrong = [];
  for (const img of document.images) {
    if (!img.complete) await new Promise(done => { img.onload = img.onerror = done; });
    if (!img.naturalWidth) wrong.push(`not found: picture ${img.src}`);
  }
  for (const { hash } of document.querySelectorAll('a[href^="#"]'))
    if (!document.getElementById(decodeURIComponent(hash.slice(1)))) wrong.push(`not found: link ${hash}`);
  const edge = container.getBoundingClientRect().right;
  for (const box of container.querySelectorAll("pre, pre span, table, img, mjx-math"))
    if (box.getBoundingClientRect().right > edge + 1)
      wrong.push(`wider than the page: ${box.closest("article").id}: ${(box.closest("[aria-label]")?.ariaLabel ?? box.alt ?? box.textContent).slice(0, 80)}`);

  // What no font of this machine can draw comes out as one and the same box.
  const pen = make("canvas", { width: 32, height: 32 }).getContext("2d", { willReadFrequently: true });
  const drawn = character => {
    pen.clearRect(0, 0, 32, 32);
    pen.font = "20px sans-serif";
    pen.fillText(character, 4, 24);
    return pen.getImageData(0, 0, 32, 32).data.join();
  };
  const box = drawn("\u{10FFFE}");
  const letters = new Set(document.body.innerText.match(/\p{L}/gu));
  return { wrong, boxes: [...letters].filter(letter => drawn(letter) === box).join("") };
}
