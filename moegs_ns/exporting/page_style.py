"""How the page of a mixture looks and what moves on it. No libraries, no fonts, nothing from a network."""

STYLE = """
:root { color-scheme: light; --ink: #1a1a1a; --soft: #666; --line: #ddd; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1600px; padding: 1rem 1.5rem 4rem; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { max-width: 62rem; margin: .4rem 0; } .facts, .note, figcaption { color: var(--soft); font-size: .85rem; }
.chip { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em;
  border: 1px solid #0003; }
.legend span { margin-right: 1.2em; white-space: nowrap; }
.controls { position: sticky; top: 0; z-index: 2; background: #fff; padding: .5rem 0; display: flex; gap: 1rem;
  align-items: center; flex-wrap: wrap; border-bottom: 1px solid var(--line); }
.controls input[type=range] { flex: 1 1 16rem; max-width: 34rem; } .controls output { min-width: 9.5rem;
  font-weight: 600; }
.scroll { overflow-x: auto; } .instant { display: grid; gap: .5rem .4rem; margin-top: .6rem; }
.instant[hidden] { display: none; } .head { font-weight: 600; align-self: end; }
figure { margin: 0; min-width: 0; } figcaption { line-height: 1.3; min-height: 2.6em; }
.stack { position: relative; background: #000; cursor: zoom-in; display: block; width: 100%; padding: 0; border: 0; }
.stack img { display: block; width: 100%; image-rendering: pixelated; }
.stack .under { position: absolute; inset: 0; filter: grayscale(1); display: none; }
.through .under { display: block; } .through .under + img { position: relative; opacity: .55; }
.scale { display: inline-block; vertical-align: middle; width: 14rem; height: .9rem; border: 1px solid #0005; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 1rem; }
.chart { width: 100%; height: auto; font: 12px system-ui, sans-serif; } .chart .title { font-weight: 600;
  font-size: 14px; } .chart .grid { stroke: #e4e4e4; } .chart .tick, .chart .axis { fill: #555; }
.chart .curve { fill: none; stroke-width: 2; stroke-linejoin: round; } .chart .now { stroke: #0008;
  stroke-dasharray: 3 3; }
table { border-collapse: collapse; margin: .4rem 0; } caption { text-align: left; font-weight: 600;
  padding: .3rem 0; white-space: nowrap; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } .note { margin: .15rem 0; }
dialog { border: 0; padding: .8rem; max-width: 96vw; max-height: 96vh; background: #111; color: #eee; }
dialog::backdrop { background: #000b; } dialog .stack { cursor: zoom-out; width: min(92vw, 118vh); }
dialog p { max-width: none; margin: .4rem 0 0; }
@media print { .controls { position: static; } }
"""

SCRIPT = """
(function () {
  const instants = [...document.querySelectorAll('.instant')];
  const slider = document.getElementById('slider'), label = document.getElementById('label');
  const play = document.getElementById('play'), large = document.getElementById('large');
  let opened = null, timer = null;
  function show(number) {
    instants.forEach((one, index) => { one.hidden = index !== number; });
    slider.value = number;
    label.textContent = instants[number].dataset.label;
    const position = instants[number].dataset.position;
    document.querySelectorAll('.chart').forEach(chart => {
      const line = chart.querySelector('.now'), place = chart.dataset;
      if (position === '') { line.setAttribute('visibility', 'hidden'); return; }
      const share = place.last === place.first ? 0 : (position - place.first) / (place.last - place.first);
      const x = Number(place.left) + share * (place.right - place.left);
      line.setAttribute('x1', x); line.setAttribute('x2', x); line.setAttribute('visibility', 'visible');
    });
    if (opened !== null) enlarge();
  }
  function enlarge() {
    const figure = instants[slider.value].querySelectorAll('figure')[opened];
    large.replaceChildren(figure.querySelector('.stack').cloneNode(true));
    const text = document.createElement('p');
    text.textContent = label.textContent + ', ' + figure.querySelector('figcaption').textContent;
    large.append(text);
  }
  function step(by) { show((Number(slider.value) + by + instants.length) % instants.length); }
  function stop() { clearInterval(timer); timer = null; play.textContent = 'Play'; }
  slider.addEventListener('input', () => { stop(); show(Number(slider.value)); });
  play.addEventListener('click', () => {
    if (timer) { stop(); return; }
    play.textContent = 'Stop';
    timer = setInterval(() => step(1), 600);
  });
  document.getElementById('through').addEventListener('change', event =>
    document.body.classList.toggle('through', event.target.checked));
  instants.forEach(instant => instant.querySelectorAll('figure').forEach((figure, index) =>
    figure.querySelector('.stack').addEventListener('click', () => { opened = index; enlarge(); large.showModal(); })));
  large.addEventListener('click', () => large.close());
  large.addEventListener('close', () => { opened = null; });
  document.addEventListener('keydown', event => {
    if (document.activeElement === slider) return;
    if (event.key === 'ArrowRight') { stop(); step(1); } else if (event.key === 'ArrowLeft') { stop(); step(-1); }
  });
  document.querySelectorAll('.chart').forEach(chart => chart.addEventListener('click', event => {
    const box = chart.getBoundingClientRect(), place = chart.dataset;
    const x = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    const wanted = Number(place.first) + (x - place.left) / (place.right - place.left) * (place.last - place.first);
    const away = one => one.dataset.position === '' ? Infinity : Math.abs(one.dataset.position - wanted);
    show(instants.reduce((best, one, index) => away(one) < away(instants[best]) ? index : best, 0));
  }));
  show(0);
})();
"""
