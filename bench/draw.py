#!/usr/bin/env python3
"""Writes what bench/run found, bench/results/*.json, into docs/performance.md: of each
benchmark the tables, between its markers, and beside the page a picture of its comparisons
and one of each curve.

  bench/draw.py            the tables and the pictures
  bench/draw.py --tables   the tables only
  bench/draw.py --check    1 if the page does not say what the results say; changes nothing

The tables need the standard library only, the pictures matplotlib; where the results did not
change, both come out the same byte for byte.
"""
import argparse
import json
import math
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?<=<!-- results:)(\w+)( -->\n).*?(?=<!-- /results -->)", re.DOTALL)
SCALES = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1,
          "bytes": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}
TIMES, SIZES = ("ns", "us", "ms", "s"), ("bytes", "KB", "MB", "GB")


# --- numbers ----------------------------------------------------------------------------

def number(value):
    """Three digits: 0.0123, 1.23, 12.3, 123, 1.23k."""
    value = float(f"{value:.3g}")
    for suffix, factor in ("G", 1e9), ("M", 1e6), ("k", 1e3):
        if abs(value) >= factor:
            return number(value / factor) + suffix
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(0, digits)}f}"


def figure(value, unit):
    """With its unit; times and sizes in the one that fits them."""
    base, slash, rest = unit.partition("/")
    units = TIMES if base in TIMES and not slash else SIZES if base in SIZES else ()
    if not units:
        return f"{number(value)} {unit}"
    value *= SCALES[base]
    fits = [name for name in units if float(f"{abs(value):.3g}") >= SCALES[name]]
    base = fits[-1] if fits else units[0]
    return f"{number(value / SCALES[base])} {base.replace('us', 'µs')}{slash}{rest}"


def short(value, unit):
    """10 MB for 10.0 MB, 0.5 for 0.500."""
    return re.sub(r"\.?0*(?=[kMG]? )", "", text) if "." in (text := figure(value, unit)) else text


def ratio(value):
    return number(value) if value >= 0.01 or value <= 0 else f"1/{float(f'{1 / value:.3g}'):.0f}"


# --- rows -------------------------------------------------------------------------------

def ours(row):
    return row["ratio"]["of"] if "ratio" in row else next(iter(row["subjects"]))


def rivals(row):
    """The other subjects; that of the target first."""
    first = row["ratio"]["to"] if "ratio" in row else None
    return sorted(set(row["subjects"]) - {ours(row)},
                  key=lambda name: (name != first, list(row["subjects"]).index(name)))


def ratio_to(row, rival):
    """Ours to it, with the lowest and the highest of the rounds."""
    if rival == row["ratio"]["to"]:
        found = row["ratio"]
        return ratio(found["median"]), ratio(found["low"]), ratio(found["high"])
    rounds = sorted(a / b for a, b in zip(row["subjects"][ours(row)]["rounds"],
                                          row["subjects"][rival]["rounds"]))
    middle = (rounds[(len(rounds) - 1) // 2] + rounds[len(rounds) // 2]) / 2
    return ratio(middle), ratio(rounds[0]), ratio(rounds[-1])


def wanted(row):
    """The target in words; "" where the row has none."""
    if "target" not in row:
        return ""
    target = row["target"]
    if target["said"]:
        return re.sub(r"\bus\b", "µs", target["said"])
    limit = f"{target['value']:g}" if "ratio" in row else short(target["value"], row["unit"])
    return {">=": "≥ ", "<=": "≤ "}[target["op"]] + limit


# --- tables -----------------------------------------------------------------------------

def cells(row):
    def measured(name):
        subject = row["subjects"][name]
        cpu = f" (CPU {figure(subject['cpu_us'], 'us')})" if "cpu_us" in subject else ""
        return figure(subject["median"], row["unit"]) + cpu

    mine = ours(row)
    yield row["what"]
    yield measured(mine) if mine == "graphpipe" else f"{mine}: {measured(mine)}"
    yield "<br>".join(f"{name}: {measured(name)}" for name in rivals(row))
    yield "<br>".join("{} ({} to {})".format(*ratio_to(row, name)) for name in rivals(row))
    yield wanted(row)
    yield ("yes" if row["met"] else "**missed**") if "target" in row else ""


def how(result):
    """The line before the table."""
    machine = result["machine"]
    rounds = sorted({len(subject["rounds"]) for row in result["rows"]
                     for subject in row["subjects"].values()})
    said = f", {' to '.join(map(str, sorted({rounds[0], rounds[-1]})))} rounds" if rounds else ""
    where = "in a private namespace with" if machine["namespace"] else "the machine's own, with"
    return (f"`{result['command']}`, {machine['date']}, version {machine['version']}{said}. "
            f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, "
            f"Linux {machine['kernel'].partition('-')[0]}; loopback {where} {machine['tcp']}.")


def block(result, folder):
    """All that stands between the markers of one benchmark."""
    if not result:
        return "Not measured yet.\n"
    lines = [how(result), ""]
    if result["rows"]:
        lines += ["| what | ours | rival or limit | ratio: ours to it | target | met |",
                  "|---|---|---|---|---|---|"]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells(row))} |"
                  for row in result["rows"]]
        lines.append("")
    notes = {}
    for of in result["rows"] + result["curves"]:
        notes.setdefault(of["note"], []).append(of["what"] if "what" in of else of["title"])
    notes.pop("", None)
    lines += [f"- {note if len(of) > 1 else f'{of[0]}: {note}'}" for note, of in notes.items()]
    lines += [""] * bool(notes)
    lines += [f"![{title}]({folder}/{name}.svg)\n" for name, title, *_ in pictures(result)]
    return "\n".join(lines).rstrip("\n") + "\n"


def pictures(result):
    """(name, title, curve) of each; without a curve it is that of the comparisons."""
    if any("ratio" in row for row in result["rows"]):
        yield f"{result['name']}-bars", result["title"], None
    for curve in result["curves"]:
        yield f"{result['name']}-{curve['curve']}", curve["title"], curve


# --- pictures ---------------------------------------------------------------------------

OURS = ["#0072b2", "#56b4e9", "#004166", "#8fb8de"]   # "graphpipe", and its variants
LIMITS = ["#8a8a8a", "#b8b8b8", "#5e5e5e", "#d4d4d4"]   # what nobody can beat
RIVALS = ["#e69f00", "#009e73", "#cc79a7", "#d55e00", "#8c6bb1", "#b5a642", "#7f4f24", "#44aa99"]
IS_LIMIT = re.compile("limit|memcpy|in.process|recv")
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "graphpipe", "font.size": 9,
            "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
            "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left",
            "axes.titleweight": "bold", "figure.facecolor": "white", "savefig.facecolor": "white"}
PER_LINE, ABOVE = 0.26, 2.1   # inches of a bar; lines of a group's heading and the room above
MISSED = "#b00020"


def draw(results, folder):
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams.update(SETTINGS)
    folder.mkdir(exist_ok=True)
    colours = colours_of(results)
    drawn = set()
    for result in results.values():
        for name, title, curve in pictures(result):
            drawn.add(path := folder / f"{name}.svg")
            figure_ = draw_curve(curve, colours) if curve else draw_bars(result, colours)
            save(figure_, path)
    for path in set(folder.glob("*.svg")) - drawn:
        path.unlink()


def save(picture, path):
    """Without a date, so that the same results give the same file."""
    from matplotlib import pyplot
    bare = {"Date": None, "Creator": None} if path.suffix == ".svg" else {}
    picture.savefig(path, metadata=bare)
    pyplot.close(picture)


def subjects(result):
    return {name for of in [*(row["subjects"] for row in result["rows"]),
                            *(curve["series"] for curve in result["curves"])] for name in of}


def colours_of(results):
    """The colour of each subject, the same in all pictures, and in one as few alike as can be."""
    mine = {ours(row) for result in results.values() for row in result["rows"]}
    colours = {}
    for result in results.values():
        names = subjects(result)
        used = [colours[name] for name in names & set(colours)]
        for name in sorted(names - set(colours), key=lambda n: (n != "graphpipe", n)):
            palette = OURS if name in mine or name.startswith("graphpipe") else \
                LIMITS if IS_LIMIT.search(name) else RIVALS
            colours[name] = min(palette, key=used.count)
            used.append(colours[name])
    return colours


def draw_bars(result, colours):
    """A group of bars for each row that has rivals, from 0 to the highest round of the group."""
    from matplotlib import pyplot
    rows = [row for row in result["rows"] if "ratio" in row]
    n_lines = sum(len(row["subjects"]) + ABOVE for row in rows)
    width = 8 + 0.07 * max(len(name) for row in rows for name in row["subjects"])
    picture, axes = pyplot.subplots(figsize=(width, n_lines * PER_LINE + 1), layout="constrained")
    at, ticks = 0.0, {}
    for row in rows:
        at += ABOVE
        is_missed = "target" in row and not row["met"]
        target = f"; target {wanted(row)}: {'missed' if is_missed else 'met'}" \
            if "target" in row else ""
        axes.text(0.006, at - 1.5, row["what"], weight="bold", va="center")
        axes.text(0.006, at - 0.8, f"{row['better']} is better{target}", fontsize=8, va="center",
                  color=MISSED if is_missed else "#555555")
        highest = max(max(subject["rounds"]) for subject in row["subjects"].values())
        for name in [ours(row), *rivals(row)]:
            draw_bar(axes, at, row, name, highest, colours[name])
            ticks[at] = name
            at += 1
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set(ylim=(n_lines - 0.4, -0.2), xlim=(0, 1.7), xticks=[0, 0.25, 0.5, 0.75, 1],
             title=result["title"])
    axes.set_xlabel("Of the highest round in the group. A bar is the median of the rounds, "
                    "its line goes from the lowest to the highest.\n"
                    "Ratio: ours, the first of the group, to this one (lowest to highest).")
    axes.xaxis.label.set(color="#555555", fontsize=8)
    axes.tick_params(left=False)
    return picture


def draw_bar(axes, at, row, name, highest, colour):
    subject = row["subjects"][name]
    low, high = (end(subject["rounds"]) / highest for end in (min, max))
    axes.barh(at, subject["median"] / highest, height=0.8, color=colour)
    axes.plot([low, high], [at, at], color="black", linewidth=1)
    said = figure(subject["median"], row["unit"])
    if name != ours(row):
        said += "   ratio {} ({} to {})".format(*ratio_to(row, name))
    axes.text(high + 0.015, at, said, va="center", fontsize=8)


def draw_curve(curve, colours):
    from matplotlib import pyplot, ticker
    picture, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for i, (name, points) in enumerate(curve["series"].items()):
        axes.plot(*zip(*points), marker="os^Dv"[i % 5], markersize=4, color=colours[name],
                  label=name)
    better = "higher" if curve["y"]["unit"].endswith("/s") else "lower"
    axes.set_title(f"{curve['title']} ({better} is better)", fontsize=10)
    for is_x, axis, of in (True, axes.xaxis, curve["x"]), (False, axes.yaxis, curve["y"]):
        if of.get("log"):
            (axes.set_xscale if is_x else axes.set_yscale)("log")
            low, high = axis.get_view_interval()
            axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
            axis.set_minor_formatter(ticker.NullFormatter())
        elif not is_x:
            axes.set_ylim(bottom=0)
        unit, name = of["unit"].replace("us", "µs"), of["name"]
        if of["unit"] in TIMES + SIZES:  # which the numbers show
            axis.set_major_formatter(lambda value, _, unit=of["unit"]: short(value, unit))
        else:
            axis.set_major_formatter(lambda value, _: short(value, "").strip())
            name = name if unit in (name, "number", "") else f"{name} ({unit})"
        axis.set_label_text(name)
    axes.grid(color="#e0e0e0", linewidth=0.6)
    if len(curve["series"]) > 1:
        axes.legend(frameon=False, fontsize=8)
    return picture


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare the tables")
    parser.add_argument("--tables", action="store_true", help="leave the pictures as they are")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "bench/results")
    parser.add_argument("--page", type=pathlib.Path, default=ROOT / "docs/performance.md",
                        help="its pictures are in the folder beside it, of the same name")
    options = parser.parse_args()
    results = {path.stem: json.loads(path.read_text())
               for path in sorted(options.results.glob("*.json"))}
    old = options.page.read_text()
    homeless = set(results) - {name for name, _ in BLOCK.findall(old)}
    if homeless:
        sys.exit(f"draw: {options.page} has no markers for {', '.join(sorted(homeless))}")
    folder = options.page.with_suffix("")
    new = BLOCK.sub(lambda at: at[1] + at[2] + block(results.get(at[1]), folder.name), old)
    if options.check:
        sys.exit(f"draw: {options.page} is not what the results give: run bench/draw.py"
                 if new != old else 0)
    options.page.write_text(new)
    if not options.tables:
        draw(results, folder)


if __name__ == "__main__":
    main()
