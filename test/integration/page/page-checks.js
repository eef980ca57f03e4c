/**
 * What must hold of the page in every state. It runs inside the browser: page.test.ts reads it as text.
 */

/** Texts that lie on one another, leave their node's box in the drawing, or cannot be read against their ground. */
function findFaults() {
  const faults = [];
  const seen = [];
  const luminance = (colour) => {
    const [red = 0, green = 0, blue = 0] = (colour.match(/[\d.]+/g) ?? []).map(Number);
    const linear = [red, green, blue].map((each) => {
      const share = each / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const groundOf = (from) => {
    for (let each = from; each !== null; each = each.parentElement) {
      const { backgroundColor } = getComputedStyle(each);
      if (!/rgba\(.*, 0\)|transparent/.test(backgroundColor)) return backgroundColor;
    }
    return 'rgb(255, 255, 255)';
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const text = (node.textContent ?? '').trim();
    const parent = node.parentElement;
    if (
      text === '' ||
      parent === null ||
      !parent.checkVisibility() ||
      parent.closest('title, option, noscript')
    )
      continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width < 1 || box.height < 1) continue;
      for (const other of seen) {
        const wide = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
        const high = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
        if (wide > 1 && high > 3 && other.text !== text) faults.push(`"${text}" lies on "${other.text}"`);
      }
      seen.push({ text, box });
      const frame = parent.closest('#map g')?.querySelector('rect.box')?.getBoundingClientRect();
      if (
        frame !== undefined &&
        (box.left < frame.left || box.right > frame.right || box.bottom > frame.bottom)
      )
        faults.push(`"${text}" leaves the box of its node`);
      if (box.right > document.documentElement.clientWidth) faults.push(`"${text}" leaves the page`);
    }
    const drawing = parent.closest('svg');
    const colour = drawing === null ? getComputedStyle(parent).color : getComputedStyle(parent).fill;
    const box = parent.closest('#map g')?.querySelector('rect.box');
    const ground = box ? getComputedStyle(box).fill : groundOf(parent);
    const [light, dark] = [luminance(colour), luminance(ground)].toSorted((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) faults.push(`"${text}" has a contrast of ${contrast.toFixed(1)}`);
  }
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth)
    faults.push(`the page is ${scrollWidth} wide where there are ${clientWidth}`);
  return faults;
}

/** Numbers that nobody explains: no word for them, or no unit. */
function findBareNumbers() {
  const words = (element) => /\p{L}|%/u.test(element?.textContent ?? '');
  const bare = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const text = (node.textContent ?? '').trim();
    const parent = node.parentElement;
    if (!/\d/.test(text) || parent === null || !parent.checkVisibility()) continue;
    if (parent.matches('.number')) {
      const tile = parent.closest('.tile');
      if (!words(parent.parentElement?.querySelector('.unit')) || !words(tile?.querySelector('h3')))
        bare.push(text);
    } else if (parent.matches('dd')) {
      if (!words(parent.parentElement?.querySelector('dt'))) bare.push(text);
    } else if (!words(parent) && !parent.matches('time')) bare.push(text);
  }
  for (const article of document.querySelectorAll('.tile'))
    if (!words(article.querySelector('p')))
      bare.push(`${article.querySelector('h3')?.textContent} explains nothing`);
  return bare;
}

/** What a screen reader has nothing to say about. */
function findUnnamed() {
  const images = [
    ...document.querySelectorAll('[role="img"], [role="progressbar"], [role="group"], main section'),
  ];
  return images
    .filter((each) => each.checkVisibility())
    .filter((each) => {
      const labelledBy = each.getAttribute('aria-labelledby');
      const label =
        labelledBy === null ? each.getAttribute('aria-label') : document.getElementById(labelledBy);
      return label === null || label === '';
    })
    .map((each) => each.outerHTML.slice(0, 100));
}

globalThis.pageChecks = { findFaults, findBareNumbers, findUnnamed };
