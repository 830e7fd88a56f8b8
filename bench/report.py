#!/usr/bin/env python3
"""Measures everything that docs/performance.md shows, and writes it there: one command, one table, plots.

    ./report.py                 # builds, measures (about 40 minutes), writes
    ./report.py --rounds 3 --only 'farcall-*,tarpc-bincode,go-*'
    ./report.py --no-run        # writes again from what was measured last

Each part is a run of bench.py; its rows are kept in results/report-*.json. Allocations are counted in programs built
for it, system calls by the kernel (perf); where one of them is not to be had, the table has a dash.
"""
import argparse, json, os, platform, re, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
RESULTS = os.path.join(HERE, "results")
DOCUMENT = os.path.join(ROOT, "docs", "performance.md")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
# name, words before bench.py, its words
PARTS = [
    ("one-core", [], ["--mode", "one", "--workloads", "w1a,w1b,w1c"]),
    ("large", ["./netns.sh", "cubic"], ["--mode", "one", "--workloads", "w2-1k,w2-64k,w2-1m"]),
    ("two-cores", [], ["--mode", "free", "--workloads", "w1b,w1c"]),
    ("idle", [], ["--mode", "free", "--workloads", "idle", "--secs", "1"]),
]


def command(words):
    try:
        return subprocess.run(words, capture_output=True, text=True, cwd=HERE).stdout.strip()
    except OSError:
        return ""


def measure(a):
    for name, before, words in PARTS:
        out = os.path.join(RESULTS, f"report-{name}.json")
        # Memory hardly differs from run to run.
        rounds = min(a.rounds, {"large": 3, "idle": 1}.get(name, a.rounds))
        run = before + [sys.executable, "bench.py", "--out", out, "--rounds", str(rounds), *words]
        if "--secs" not in words:
            run += ["--secs", str(a.secs)]
        if a.only:
            run += ["--only", a.only]
        print("==", *run, file=sys.stderr, flush=True)
        subprocess.run(run, cwd=HERE, check=True, stdout=subprocess.DEVNULL)
    counts = count(json.load(open(os.path.join(HERE, "peers.json"))))
    json.dump(counts, open(os.path.join(RESULTS, "report-counts.json"), "w"))


def inproc(words, before, secs):
    """Calls and extra figures of one run with both sides in one process. Its port may be somebody's: then once more."""
    for _ in range(3):
        run = subprocess.run(before + words + ["inproc", "w1b", str(secs)], capture_output=True, text=True, cwd=HERE)
        lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        rows = [line for line in lines if "calls" in line]
        if rows:
            return rows[-1], run.stderr
    print("==", *words, "gave nothing:", run.stderr[:300], file=sys.stderr, flush=True)
    return None, run.stderr


def count(peers):
    """Allocations and system calls of a call, client and server together, at 128 in flight on one connection."""
    counts = {}
    for peer in peers:
        words = peer["client"].split()[:-1]
        program = os.path.basename(words[0])
        if program in ("go-netrpc", "limits"):
            continue
        found = {}
        counted = os.path.join("bin", "count", program)
        if os.path.exists(os.path.join(HERE, counted)):
            row, _ = inproc([counted] + words[1:], [], 1)
            if row and "allocs_per_call" in row:
                found["allocations"] = row["allocs_per_call"]
        # The longer run less the shorter one: without their beginnings and ends.
        seen = []
        for secs in (1, 3):
            row, text = inproc(words, ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter"], secs)
            calls = re.search(r"^(\d+),", text, re.M)
            if row and calls:
                seen.append((row["calls"], int(calls.group(1))))
        if len(seen) == 2 and seen[1][0] > seen[0][0]:
            found["system calls"] = (seen[1][1] - seen[0][1]) / (seen[1][0] - seen[0][0])
        counts[peer["name"]] = found
        print("==", peer["name"], found, file=sys.stderr, flush=True)
    return counts


def load(name):
    path = os.path.join(RESULTS, f"report-{name}.json")
    return json.load(open(path)) if os.path.exists(path) else []


def figures(rows, peer, workload, key):
    return [row[key] for row in rows if row["peer"] == peer and row["workload"] == workload and key in row]


def median(rows, peer, workload, key):
    found = figures(rows, peer, workload, key)
    return statistics.median(found) if found else None


def shown(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def spread(rows, peer, workload, key, digits):
    found = figures(rows, peer, workload, key)
    if not found:
        return "-"
    return f"{statistics.median(found):,.{digits}f} ({min(found):,.{digits}f}–{max(found):,.{digits}f})"


def table(parts, counts):
    one, large, two, idle = (parts[name] for name, _, _ in PARTS)
    names = list(dict.fromkeys(row["peer"] for row in one))
    names.sort(key=lambda name: median(one, name, "w1b", "cpu_us") or 9e9)
    head = ["peer", "W1a µs", "p50/p99 µs", "W1b µs", "W1c µs", "W1b 2 cores, 1,000 calls/s", "p99 µs",
            "1 KiB µs/MB", "64 KiB µs/MB", "1 MiB µs/MB", "1 MiB p99 ms", "KiB/idle connection", "allocations", "system calls"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for name in names:
        rate = median(two, name, "w1b", "cps")
        slow = median(large, name, "w2-1m", "p99_us")
        counted = counts.get(name, {})
        lines.append("| " + " | ".join([
            name,
            spread(one, name, "w1a", "cpu_us", 1),
            f"{shown(median(one, name, 'w1a', 'p50_us'), 0)}/{shown(median(one, name, 'w1a', 'p99_us'), 0)}",
            spread(one, name, "w1b", "cpu_us", 2),
            spread(one, name, "w1c", "cpu_us", 2),
            shown(rate / 1000 if rate else None, 0),
            shown(median(two, name, "w1b", "p99_us"), 0),
            spread(large, name, "w2-1k", "cpu_us_mb", 0),
            spread(large, name, "w2-64k", "cpu_us_mb", 0),
            spread(large, name, "w2-1m", "cpu_us_mb", 0),
            shown(slow / 1000 if slow else None, 1),
            shown(median(idle, name, "idle", "kib_per_conn"), 1),
            shown(counted.get("allocations"), 2),
            shown(counted.get("system calls"), 3),
        ]) + " |")
    return "\n".join(lines)


def ratios(rows):
    """farcall against the peer that does the same, in the same rounds; and with everything on against bare calls."""
    pairs = [("farcall-postcard", "tarpc-bincode"), ("farcall-postcard+full", "farcall-postcard"), ("farcall-gob", "go-netrpc-gob"), ("farcall-json", "go-netrpc-json")]
    lines = ["| farcall | against | W1a | W1b | W1c |", "|---|---|---:|---:|---:|"]
    for ours, theirs in pairs:
        cells = []
        for workload in ("w1a", "w1b", "w1c"):
            by_round = {row["round"]: row["cpu_us"] for row in rows
                        if row["peer"] == theirs and row["workload"] == workload and "cpu_us" in row}
            found = [row["cpu_us"] / by_round[row["round"]] for row in rows
                     if row["peer"] == ours and row["workload"] == workload and "cpu_us" in row and row["round"] in by_round]
            cells.append(shown(statistics.median(found) if found else None, 3))
        lines.append(f"| {ours} | {theirs} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(path, title, unit, bars):
    """Horizontal bars with the spread of the rounds, as SVG. The scale is logarithmic: the peers differ by a hundred times."""
    import math
    bars = [bar for bar in bars if bar[1]]
    low = min(min(values) for _, values in bars) / 1.5
    high = max(max(values) for _, values in bars) * 1.3
    left, width, step = 150, 520, 24
    height = 48 + step * len(bars)

    def x(value):
        return left + width * (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{height}" '
           f'font-family="system-ui, sans-serif" font-size="12">',
           f'<rect width="100%" height="100%" fill="#ffffff"/><text x="8" y="20" font-size="14" fill="#1f2328">{title}</text>',
           f'<text x="{left}" y="38" fill="#59636e">{unit}, logarithmic; the line is the spread of the rounds</text>']
    for place, (name, values) in enumerate(bars):
        y = 46 + step * place
        middle = statistics.median(values)
        colour = "#0969da" if name.startswith("farcall") else "#afb8c1"
        out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end" fill="#1f2328">{name}</text>')
        out.append(f'<rect x="{left}" y="{y + 2}" width="{x(middle) - left:.1f}" height="14" fill="{colour}"/>')
        out.append(f'<line x1="{x(min(values)):.1f}" x2="{x(max(values)):.1f}" y1="{y + 9}" y2="{y + 9}" stroke="#1f2328"/>')
        out.append(f'<text x="{x(max(values)) + 6:.1f}" y="{y + 13}" fill="#1f2328">{middle:,.2f}</text>')
    out.append("</svg>\n")
    with open(path, "w") as file:
        file.write("\n".join(out))


def versions():
    lock = open(os.path.join(HERE, "Cargo.lock")).read()
    crates = dict(re.findall(r'name = "([\w-]+)"\nversion = "([^"]+)"', lock))
    named = ["tokio", "tarpc", "tonic", "volo-thrift", "capnp-rpc", "jsonrpsee"]
    processor = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    parts = [
        f"{os.cpu_count()} cores of {processor.group(1) if processor else platform.machine()}",
        f"Linux {platform.release()}",
        command(["rustc", "--version"]),
        re.sub("^go version ", "", command(["go", "version"])) or "",
        ", ".join(f"{name} {crates[name]}" for name in named if name in crates),
    ]
    return "; ".join(part for part in parts if part)


def write():
    parts = {name: load(name) for name, _, _ in PARTS}
    counts = load("counts") or {}
    rounds = max((row["round"] for row in parts["one-core"]), default=0)
    plots = os.path.join(ROOT, "docs", "performance")
    os.makedirs(plots, exist_ok=True)
    images = []
    for file, title, unit, part, workload, key in [
        ("w1b.svg", "128 calls in flight on one connection", "CPU µs per call, client and server", "one-core", "w1b", "cpu_us"),
        ("w1a.svg", "one call at a time", "CPU µs per call, client and server", "one-core", "w1a", "cpu_us"),
        ("w2-1m.svg", "echo of 1 MiB, 16 in flight", "CPU µs per MB, client and server", "large", "w2-1m", "cpu_us_mb"),
    ]:
        rows = parts[part]
        names = list(dict.fromkeys(row["peer"] for row in rows))
        bars = [(name, figures(rows, name, workload, key)) for name in names]
        bars = sorted((bar for bar in bars if bar[1]), key=lambda bar: statistics.median(bar[1]))
        if bars:
            plot(os.path.join(plots, file), title, unit, bars)
            images.append(f"![{title}](performance/{file})")
    text = "\n\n".join([
        BEGIN,
        f"Measured with {versions()}. Medians of {rounds} rounds (3 on two cores and of large bodies, one of idle connections), in parentheses the least and the most.",
        table(parts, counts),
        "CPU per call against the peer that does the same, median of the ratios of each round:",
        ratios(parts["one-core"]),
        *images,
        END,
    ])
    old = open(DOCUMENT).read()
    before, rest = old.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    with open(DOCUMENT, "w") as file:
        file.write(before + text + after)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--secs", type=float, default=1.0)
    ap.add_argument("--only", help="the peers to measure, as bench.py takes them")
    ap.add_argument("--no-run", action="store_true", help="only write the document again")
    a = ap.parse_args()
    os.makedirs(RESULTS, exist_ok=True)
    if not a.no_run:
        measure(a)
    write()


main()
