"""The page of the proof: one HTML file without scripts, and its chart as a picture for other pages."""

import html
import json

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 312, 60, 40, 40
KINDS = {"kill": "a replica is killed and restarted", "flush": "Redis is flushed", "failover": "the primary Redis is killed"}
STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #60646c; --page: #fff; --line: #0f6fde; --limit: #c62a2f; --mark: #b3b8c0 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #edeef0; --dim: #b0b4ba; --page: #111113; --line: #70b8ff; --limit: #ff9592; --mark: #5a6169 }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 46rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.5rem; line-height: 1.2 } h2 { font-size: 1.15rem; margin-top: 2rem }
svg { width: 100%; height: auto; display: block }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0 }
dt { color: var(--dim); font-size: .875rem } dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums }
p.about { color: var(--dim); font-size: .875rem; overflow-wrap: anywhere }
"""
CHART_STYLE = """text { font: 13px system-ui, sans-serif; fill: var(--dim, #60646c) } .axis, .event { stroke: var(--mark, #b3b8c0) }
.event { stroke-dasharray: 2 4 } .line { fill: none; stroke: var(--line, #0f6fde); stroke-width: 2 }
.limit { stroke: var(--limit, #c62a2f); stroke-width: 1.5 } .refused { fill: var(--limit, #c62a2f); opacity: .6 }
@media (max-width: 40rem) { text { font-size: 26px } }"""


def summary(result):
    verdict = "held" if result["held"] else "NOT HELD"
    return (f"{result['name']}: {verdict}; at most {result['worst_window']} of {result['limit']} calls in any minute, "
            f"{result['refused_by_provider']} refused by the provider, {result['used']:.1%} used; responses {result['responses']}")


def chart(result):
    """The size of the worst trailing minute in each second, the limit, the events, and refusals to callers."""
    seconds, limit = result["seconds"], result["limit"]
    top = max(limit, result["worst_window"]) * 1.08
    x = lambda second: LEFT + (WIDTH - LEFT - 8) * second / seconds
    y = lambda units: HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * units / top
    parts = [f"<style>{CHART_STYLE}</style>"]
    for event in result["events"]:
        at = x(event["at"])
        parts.append(f'<line class="event" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        if event["kind"] != "kill":
            parts.append(f'<text x="{at:.1f}" y="{TOP - 8}" text-anchor="middle">{event["kind"]}</text>')
    kills = [event["at"] for event in result["events"] if event["kind"] == "kill"]
    if kills:
        parts.append(f'<text x="{x(kills[0]):.1f}" y="{TOP - 8}">kills</text>')
    most = max([1, *result["refused_to_callers_by_second"]])
    for second, count in enumerate(result["refused_to_callers_by_second"]):
        if count:
            tall = 36 * count / most
            width = max(1.0, x(1) - x(0) - 0.5)
            parts.append(f'<rect class="refused" x="{x(second):.1f}" y="{HEIGHT - BOTTOM - tall:.1f}" width="{width:.1f}" height="{tall:.1f}"/>')
    points = " ".join(f"{x(second):.1f},{y(units):.1f}" for second, units in enumerate(result["worst_window_by_second"]))
    parts.append(f'<polyline class="line" points="{points}"/>')
    parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - 8}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>')
    parts.append(f'<text x="{LEFT - 6}" y="{y(limit) + 4:.1f}" text-anchor="end">{limit}</text>')
    parts.append(f'<text x="{LEFT - 6}" y="{y(0) + 4:.1f}" text-anchor="end">0</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 8}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>')
    step = 60 if seconds > 120 else 10
    for second in range(0, int(seconds) + 1, step):
        parts.append(f'<text x="{x(second):.1f}" y="{HEIGHT - 12}" text-anchor="middle">{second} s</text>')
    label = f"{result['name']}: calls in the worst trailing minute at the provider, by second; the limit is {limit}"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'


def section(result):
    responses = result["responses"]
    refused = sum(count for status, count in responses.items() if status not in ("200", "0"))
    figures = {
        "worst minute": f"{result['worst_window']} of {result['limit']}",
        "refused by the provider": result["refused_by_provider"],
        "used": f"{result['used']:.1%}",
        "answered": responses.get("200", 0),
        "refused to callers": refused,
        "broken by a kill": responses.get("0", 0),
    }
    rows = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items())
    verdict = "The limit was held." if result["held"] else "The limit was not held."
    return f"<h2>{html.escape(result['name'])}</h2>\n<p>{verdict}</p>\n{chart(result)}\n<dl>{rows}</dl>"


def document(about, results):
    first = results[0]
    kinds = {event["kind"] for result in results for event in result["events"]}
    happened = "; ".join(text for kind, text in KINDS.items() if kind in kinds)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Proof: one limit, {about['replicas']} replicas</title>
<style>{STYLE}</style>
<h1>{about['replicas']} replicas, one limit of {first['limit']} requests per minute</h1>
<p>{about['callers']} callers ask for more than a provider allows, through {about['replicas']} replicas of a gateway on one Redis behind Sentinel.
The provider counts every call that arrives, also those that it refuses. Calls reach it up to {about['jitter_ms']} ms late. Meanwhile
{happened}.</p>
<p>The line is the number of calls in the worst minute that ends in a second, wherever that minute begins. Above the red line the
provider refuses. Bars at the bottom are refusals to callers, each with the time of the next try.</p>
{"".join(section(result) for result in results)}
<p class="about">{html.escape(about['date'])} · commit {html.escape(about['commit'])} · {html.escape(about['machine'])} · Redis {html.escape(about['redis'])} ·
{first['seconds']:.0f} s each. “Used” is the share of what the minutes of that time allow. Made by <code>make proof</code>; the figures
are in result.json.</p>
</html>
"""


def write(folder, about, results):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(document(about, results))
    (folder / "chart.svg").write_text(chart(results[0]) + "\n")
    (folder / "result.json").write_text(json.dumps({**about, "results": results}, indent=1) + "\n")
