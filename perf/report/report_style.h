// The report's style sheet. It holds nothing that XML would have to escape.
#pragma once

namespace sidecar::perf {

// Text has a contrast of at least 4.5 to 1 with what is behind it, lines and points of at least 3 to 1, on
// both grounds.
inline constexpr const char* kReportStyle = R"css(
:root {
  color-scheme: light dark;
  --page: #ffffff; --panel: #f6f7f9; --text: #1b1f24; --quiet: #57606a; --edge: #d0d7de; --grid: #e4e8ec;
  --c0: #0a58b5; --c1: #b3480a; --c2: #17734f; --c3: #7d3fae; --c4: #a3245c;
  --good: #17734f; --bad: #b3261e; --warn-ground: #fff3d6; --warn-edge: #b97a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --panel: #1c2026; --text: #e6eaee; --quiet: #a3adb8; --edge: #3a424b; --grid: #2a3038;
    --c0: #6cb2ff; --c1: #ff9f5a; --c2: #5fd0a0; --c3: #cf9bf5; --c4: #f58db5;
    --good: #5fd0a0; --bad: #ff8a80; --warn-ground: #3a2f12; --warn-edge: #d9a63a;
  }
}
body { margin: 0 auto; max-width: 84rem; padding: 1.5rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
a { color: var(--c0); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none; }
.warning { background: var(--warn-ground); border-left: .3rem solid var(--warn-edge); padding: .6rem 1rem;
  margin: 1rem 0; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
.charts.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
figure { margin: 0; padding: .75rem; background: var(--panel); border: 1px solid var(--edge); border-radius: .4rem; }
.charts > figure { max-width: 42rem; }
figcaption { font-weight: 600; overflow-wrap: anywhere; }
details { margin-top: 1rem; }
summary { cursor: pointer; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; white-space: nowrap; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--edge); text-align: left; }
th { border-bottom: 2px solid var(--edge); color: var(--quiet); }
.number { text-align: right; }
.holds { color: var(--good); }
.missed { color: var(--bad); font-weight: 700; }
.noisy { color: var(--quiet); font-style: italic; }
.quiet { color: var(--quiet); }
svg { display: block; width: 100%; height: auto; font: 13px system-ui, sans-serif; }
svg text { fill: var(--text); }
svg .tick { fill: var(--quiet); font-size: 12px; font-variant-numeric: tabular-nums; }
svg path { fill: none; }
svg .grid { stroke: var(--grid); }
svg .axis { stroke: var(--quiet); }
svg .line { stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
svg .whisker { stroke: currentColor; stroke-width: 1.5; }
svg circle { fill: currentColor; stroke: currentColor; stroke-width: 1.5; }
svg .reference .line { stroke-dasharray: 6 4; }
svg .reference circle { fill: var(--panel); }
svg path.level { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 2 3; }
svg text.level { fill: var(--bad); }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); }
.c4 { color: var(--c4); }
@media print { details > * { display: block; } figure { break-inside: avoid; } }
)css";

}  // namespace sidecar::perf
