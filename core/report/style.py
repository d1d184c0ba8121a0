"""How a comparison looks: on a wide screen, on a phone, in light and dark, on paper."""

STYLE = """
:root { color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1d2328; --soft: #5c666f; --line: #dfe3e6; --tint: #f0f3f5;
  --good: #1b7340; --bad: #b3361c; --note: #fff6df; --note-line: #e5c98a; --shade: 47, 111, 176;
  --run0: #2f6fb0; --run1: #c8451f; --run2: #2a8a4a; --run3: #a03a86; --run4: #8a6d00; --run5: #0a8091;
  --run6: #6657c0; --run7: #6b6f73; }
@media screen and (prefers-color-scheme: dark) { :root {
  --page: #14181b; --card: #1b2024; --ink: #e4e8ea; --soft: #9aa5ad; --line: #333b41; --tint: #242b30;
  --good: #6fce93; --bad: #ff9377; --note: #2f2a1a; --note-line: #6d5b28; --shade: 110, 170, 230;
  --run0: #6fb1ee; --run1: #ff8a5c; --run2: #66cc88; --run3: #e58ccb; --run4: #e0bc4a; --run5: #54cddd;
  --run6: #a99cf5; --run7: #b0b6bb; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); overflow-wrap: break-word;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .35rem; letter-spacing: -.01em; text-wrap: balance; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .7rem; }
h3 { font-size: 1rem; margin: 0; }
p { margin: .4rem 0; max-width: 78ch; }
.lead { font-size: 1.02rem; }
.soft, caption, figcaption { color: var(--soft); }
.small { font-size: .86rem; }
.word { border-radius: .2rem; padding: .05rem .15rem; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
code, pre, .id { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code, .id { font-size: .86em; }
.note { background: var(--note); border: 1px solid var(--note-line); border-radius: 8px; padding: .55rem .9rem;
  margin: 1rem 0; }
.note p { max-width: none; margin: .2rem 0; }
.box { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .5rem .7rem; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { font-size: .8rem; font-weight: 600; color: var(--soft); vertical-align: bottom; background: var(--tint); }
tbody th { font-weight: 600; }
td.n, th.n { text-align: right; white-space: nowrap; }
.best { font-weight: 700; }
.dot { display: inline-block; width: .72em; height: .72em; border-radius: 50%; margin-right: .45em;
  background: var(--own); }
.run { display: inline-flex; align-items: baseline; }
.run .dot { flex: none; }
.runs th, .runs td { padding: .5rem .55rem; }
.runs thead th { white-space: normal; }
.curves { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; }
.curves.three { grid-template-columns: 1fr 1fr 1fr; }
.curves + .box { margin-top: 16px; }
.above { margin: 1rem 0 .5rem; }
.picture { overflow-x: auto; }
.picture img { display: block; width: 100%; height: auto; border-radius: 6px; background: #fff; }
figure { margin: 0; padding: 10px 12px; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  min-width: 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .86rem; font-weight: 600; padding: 2px 4px 4px; }
svg text { font-family: inherit; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; margin: .3rem 0 .8rem; }
.legend .line { display: inline-block; width: 2.1em; vertical-align: middle; margin-right: .45em;
  border-top: 2.5px solid var(--soft); }
.legend .dashed { border-top: 2px dashed var(--soft); }
details { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: .7rem 0; }
summary { cursor: pointer; padding: .6rem .9rem; font-weight: 600; }
details[open] > summary { border-bottom: 1px solid var(--line); }
details > .inside { padding: .2rem .9rem .8rem; }
details .box { border: 0; border-radius: 0; }
pre { margin: 0; padding: .8rem .9rem; overflow-x: auto; font-size: .8rem; line-height: 1.45; }
.specs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); }
.specs > div { min-width: 0; }
.specs h3 { padding: .7rem .9rem 0; }
article { padding: .8rem 0; border-bottom: 1px solid var(--line); }
article:last-child { border-bottom: 0; }
article .text { unicode-bidi: isolate; margin: .3rem 0; max-width: 100ch; overflow-wrap: anywhere; }
.answers { display: flex; flex-wrap: wrap; gap: .15rem 1.4rem; }
.right { color: var(--good); } .wrong { color: var(--bad); }
.matrices { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; }
.matrix { padding: .7rem .9rem; max-width: 100%; }
.matrix table { width: auto; margin-top: .4rem; }
.matrix th, .matrix td { border: 1px solid var(--line); padding: .35rem .6rem; font-size: .9rem; }
.matrix tbody tr:last-child > * { border-bottom: 1px solid var(--line); }
.matrix td { text-align: right; background: rgba(var(--shade), calc(var(--share) * .45)); }
.matrix.many th, .matrix.many td { padding: .15rem .38rem; font-size: .78rem; }
.fields td, .fields thead th { min-width: 9.5em; overflow-wrap: anywhere; }
.fields tbody th { white-space: nowrap; font-weight: 500; color: var(--soft); }
@media screen and (max-width: 860px) {
  main { padding: 18px 14px 48px; }
  h1 { font-size: 1.4rem; }
  .curves, .curves.three { grid-template-columns: 1fr; }
  .picture img { min-width: 600px; }
  .fields td, .fields thead th { min-width: 8.5em; font-size: .88rem; }
  .fields tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 7.5em; font-size: .82rem; }
  .fold thead { display: none; }
  .fold, .fold tbody { display: block; }
  .fold tr { display: grid; grid-template-columns: 1fr 1fr; gap: .1rem .9rem; padding: .7rem .8rem;
    border-bottom: 1px solid var(--line); }
  .fold tr:last-child { border-bottom: 0; }
  .fold tbody th, .fold td, .fold td.n { border: 0; padding: .1rem 0; text-align: left; white-space: normal;
    min-width: 0; }
  .fold tbody th { grid-column: 1 / -1; font-size: 1.05rem; }
  .fold td::before { content: attr(data-name); display: block; color: var(--soft); font-size: .76rem;
    font-weight: 400; line-height: 1.2; }
}
@media print {
  :root { color-scheme: light; --page: #fff; --card: #fff; --tint: #f4f4f4; }
  body { font-size: 9pt; }
  th, td { padding: .25rem .45rem; }
  h2 { margin-top: 1.4rem; }
  article { padding: .45rem 0; }
  figure svg { max-height: 80mm; }
  main { max-width: none; padding: 0; }
  .dot, .matrix td, .legend .line { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  figure, article, tr, .matrix { break-inside: avoid; }
  h2, h3, .legend, summary { break-after: avoid; }
  .box, pre { overflow: visible; }
  pre { white-space: pre-wrap; }
  .pair::details-content { content-visibility: visible; display: block; }
  @page { size: A4 landscape; margin: 12mm; }
}
"""
