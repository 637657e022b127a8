// Reading a chart with the pointer: the nearest step and the smoothed value of each curve.
const tip = document.body.appendChild(Object.assign(document.createElement("div"), { id: "tip" }));

function nearest(places, x) {
  let best = 0;
  places.forEach((place, i) => { if (Math.abs(place - x) < Math.abs(places[best] - x)) best = i; });
  return best;
}

for (const svg of document.querySelectorAll("svg[data-curves]")) {
  let curves = null;
  const cursor = svg.querySelector(".cursor");
  svg.addEventListener("pointermove", (event) => {
    curves ??= JSON.parse(svg.dataset.curves);
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const at = curves.map((curve) => nearest(curve.x, x));
    const place = curves[0].x[at[0]];
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    svg.classList.add("read");
    tip.replaceChildren(...[["", curves[0].at[at[0]]],
      ...curves.map((curve, i) => [`c${curve.colour}`, `${curve.label} ${curve.value[at[i]]}`])].map(([name, text]) =>
      Object.assign(document.createElement("div"), { className: name, textContent: text })));
    const left = event.clientX + 14 + tip.offsetWidth > innerWidth ? event.clientX - 14 - tip.offsetWidth : event.clientX + 14;
    tip.style.transform = `translate(${left}px, ${event.clientY + 14}px)`;
    tip.classList.add("shown");
  });
  svg.addEventListener("pointerleave", () => {
    svg.classList.remove("read");
    tip.classList.remove("shown");
  });
}
