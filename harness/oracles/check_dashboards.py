"""Checks Grafana's dashboards and alert rules: their form, and every query on a real database.

    check_dashboards.py ROOT                              their form alone
    check_dashboards.py ROOT --database-url URL           and their queries
    check_dashboards.py ROOT --as NAME [...]              the same, but file NAME has the text on
                                                          standard input; only its queries run
    check_dashboards.py ROOT --database-url URL --print NAME,NAME,...
                                                          checks nothing: prints what a browser asks
                                                          at each refresh of these dashboards

The form: unique ids and uids, panels that do not overlap, a description, unit and datasource
variable everywhere, links to dashboards that exist, 1 s among the refresh intervals.

The queries: every one of every panel, variable, annotation and alert rule runs as the role of the
URL, which must be orbitstream_reader, with macros and variables replaced as Grafana replaces them:
every variable with All, with one and with two values, and every resolution. Each must give the columns that its panel needs; those not listed in MAY_BE_EMPTY must give
rows, so the database needs some seconds of live data. Grafana's macros become time_bucket (its
datasource says `timescaledb: true`), on plain PostgreSQL too.

Prints one line for each problem and exits 1, or says what was checked and exits 0.

What --print gives is JSON, for the benchmark: of each dashboard the length of its time range and its
queries, expanded for a browser window of WINDOW_PX, every variable as it is when the dashboard is
opened (the first satellite, where one has to be chosen). @from@ and @to@ stand for the two ends of
the range.
"""

import argparse
import json
import re
import sys
from datetime import datetime, timedelta, timezone
from itertools import combinations
from pathlib import Path

import psycopg
import yaml

FOLDER = "grafana/dashboards"
ALERTS = "grafana/provisioning/alerting/orbitstream.yaml"
BOARDS = {"overview", "satellite", "links", "ingest", "anomalies"}
RULES = {"silent", "loss", "kernel-drops", "writer-stopped", "writer-lagging", "critical-anomaly"}
READER = "orbitstream_reader"

# Nothing to show is right there on a station where all is well.
MAY_BE_EMPTY = {
    ("links", "Rejected frames"), ("ingest", "Quarantine"), ("satellite", "Anomalies"),
    ("satellite", "Anomalies of this satellite"), ("anomalies", "Anomalies"),
    ("anomalies", "Opened over time"), ("anomalies", "By satellite"),
    ("anomalies", "By channel and detector"), ("alert", "Critical anomaly open"),
    ("alert", "Loss above 1 %"),
}
# Shows whole intervals only, and some seconds of data have none of an hour.
WHOLE_INTERVALS = {("links", "Frames of the selected links")}
# The longest a query may take on a small database. A plan that reads everything takes longer.
QUERY_MS_MAX = 2_000
GRID_COLUMNS = 24
TABLE_ROWS_MAX = 1_000
# Lines that people can tell apart.
SERIES_MAX = 16
# The window for --print.
WINDOW_PX = 1_600
# How Grafana rounds an interval: below so many seconds, so many.
INTERVALS_S = [(1.5, 1), (3.5, 2), (7.5, 5), (12.5, 10), (17.5, 15), (25, 20), (45, 30), (90, 60),
               (210, 120), (450, 300), (750, 600), (1_050, 900), (1_500, 1_200), (2_700, 1_800),
               (5_400, 3_600), (9_000, 7_200), (16_200, 10_800), (32_400, 21_600), (86_400, 43_200)]

NO_ROWS = "gave no rows"
NUMBERS = {"int2", "int4", "int8", "float4", "float8", "numeric"}
TEXTS = {"text", "varchar", "name", "bpchar"}
# As Grafana finds them: an argument has no parentheses of its own.
MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")


def children(panels):
    """Every panel, those inside rows that are folded up included."""
    for panel in panels:
        yield panel
        yield from children(panel.get("panels", []))


class Files:
    """The repository's files, one of them replaced if a test asks for it."""

    def __init__(self, root, replaced, text):
        self.root, self.replaced, self.text = Path(root), replaced, text

    def read(self, name):
        return self.text if name == self.replaced else (self.root / name).read_text("utf-8")

    def boards(self):
        found = {p.stem for p in (self.root / FOLDER).glob("*.json")}
        return {name: json.loads(self.read(f"{FOLDER}/{name}.json")) for name in sorted(found)}

    def rules(self):
        groups = yaml.safe_load(self.read(ALERTS))["groups"]
        return [rule for group in groups for rule in group["rules"]]


# --- form ---------------------------------------------------------------------------------------


def check_board(name, board):
    if board.get("uid") != f"orbitstream-{name}":
        yield "uid is not orbitstream- and the file's name"
    if "orbitstream" not in board.get("tags", []):
        yield "without the tag orbitstream, by which the dashboards are linked"
    if not board.get("description"):
        yield "without a description"
    if "id" in board:
        yield "has a numeric id, which belongs to one installation"
    if "1s" not in board["timepicker"]["refresh_intervals"]:
        yield "does not offer a refresh of 1s"
    if not any(link.get("type") == "dashboards" and "orbitstream" in link.get("tags", [])
               for link in board.get("links", [])):
        yield "does not link to the other dashboards"
    variables = {v["name"]: v for v in board["templating"]["list"]}
    if variables.get("datasource", {}).get("type") != "datasource":
        yield "without a variable for the datasource"
    for variable in variables.values():
        if variable["type"] == "query" and variable.get("datasource") != "$datasource":
            yield f"variable {variable['name']}: does not ask $datasource"
        if variable.get("multi") and variable.get("allValue") != "''":
            yield f"variable {variable['name']}: All would be a list of every value"
    for annotation in board["annotations"]["list"]:
        if annotation.get("datasource") != "$datasource":
            yield f"annotation {annotation['name']}: does not ask $datasource"
        if annotation.get("rawQuery") != annotation.get("target", {}).get("rawSql"):
            yield f"annotation {annotation['name']}: older and newer Grafana would ask differently"

    panels = list(children(board["panels"]))
    ids = [panel["id"] for panel in panels]
    if len(set(ids)) != len(ids):
        yield "two panels have the same id"
    titles = [panel["title"] for panel in panels]
    if len(set(titles)) != len(titles):
        yield "two panels have the same title"
    for panel in panels:
        for problem in check_panel(panel, variables):
            yield f"panel {panel['title']!r}: {problem}"
    for one, other in combinations(panels, 2):
        if overlap(one["gridPos"], other["gridPos"]):
            yield f"panels {one['title']!r} and {other['title']!r} overlap"


def check_panel(panel, variables):
    grid = panel["gridPos"]
    if grid["x"] < 0 or grid["w"] < 1 or grid["h"] < 1 or grid["x"] + grid["w"] > GRID_COLUMNS:
        yield "is not on the grid"
    if panel["type"] == "row":
        return
    if len(panel.get("description", "")) < 20:
        yield "without a description"
    if panel.get("datasource") != "$datasource":
        yield "does not ask $datasource"
    defaults = panel["fieldConfig"]["defaults"]
    if not defaults.get("unit"):
        yield "without a unit"
    if not defaults.get("thresholds", {}).get("steps"):
        yield "without thresholds"
    if not panel.get("targets"):
        yield "without a query"
    refs = [target["refId"] for target in panel.get("targets", [])]
    if len(set(refs)) != len(refs):
        yield "two queries have the same refId"
    for target in panel.get("targets", []):
        sql = target["rawSql"]
        if target.get("rawQuery") is not True or target.get("format") not in {"table", "time_series"}:
            yield "a query that is not raw SQL with a format"
        for variable in re.findall(r"(?<!\$)\$\{?(?!__)(\w+)", sql):
            if variable not in variables:
                yield f"asks for variable {variable}, which is not there"
        for quoted in re.findall(r"\$\{(\w+):(?!sqlstring)\w+\}", sql):
            yield f"variable {quoted} is not quoted by sqlstring"
        for found in re.findall(r"\$\{(\w+)\}", sql):
            yield f"variable {found} is put into SQL unquoted"
        if panel["type"] == "state-timeline" and target["format"] != "table":
            yield "asks for states as a time series, which Grafana wants numbers for"
        if target["format"] == "time_series" and not re.search(r"ORDER BY 1\b", sql):
            yield "a time series that is not in the order of time"


def check_links(boards):
    uids = {board["uid"] for board in boards.values()}
    variables = {board["uid"]: {variable["name"] for variable in board["templating"]["list"]}
                 for board in boards.values()}
    for name, board in boards.items():
        for found in re.findall(r"/d/([\w-]+)", json.dumps(board)):
            if found not in uids:
                yield f"{name}: a link to {found}, which is no dashboard"
        for found, variable in re.findall(r"/d/([\w-]+)[^\"]*?[?&]var-(\w+)", json.dumps(board)):
            if variable not in variables.get(found, ()):
                yield f"{name}: a link sets {variable}, which {found} does not have"


def check_rules(rules, boards):
    uids = [rule["uid"] for rule in rules]
    if len(set(uids)) != len(uids):
        yield "two rules have the same uid"
    if set(uids) != {f"orbitstream-{rule}" for rule in RULES}:
        yield f"the rules are not {', '.join(sorted(RULES))}"
    panels = {(b["uid"], str(p["id"])) for b in boards.values() for p in children(b["panels"])}
    for rule in rules:
        where = f"rule {rule.get('title')!r}"
        for key in ("title", "condition", "for", "noDataState", "execErrState", "annotations"):
            if key not in rule:
                yield f"{where}: without {key}"
        if rule.get("labels", {}).get("severity") not in {"warning", "critical"}:
            yield f"{where}: without a severity"
        notes = rule.get("annotations", {})
        for key in ("summary", "description"):
            if not notes.get(key):
                yield f"{where}: without a {key}"
        if (notes.get("__dashboardUid__"), notes.get("__panelId__")) not in panels:
            yield f"{where}: belongs to a panel that is not there"
        if "$" in json.dumps(rule):
            yield f"{where}: has a dollar sign, which Grafana takes for an environment variable"
        data = {query["refId"]: query for query in rule["data"]}
        if rule.get("condition") not in data:
            yield f"{where}: its condition is no query"
        for query in data.values():
            if query["model"].get("refId") != query["refId"]:
                yield f"{where}: query {query['refId']} calls itself otherwise"
            if query["datasourceUid"] == "__expr__":
                if query["model"].get("expression") not in data:
                    yield f"{where}: its expression is about no query"
            elif query["datasourceUid"] != "orbitstream":
                yield f"{where}: asks {query['datasourceUid']}"


def overlap(one, other):
    return (one["x"] < other["x"] + other["w"] and other["x"] < one["x"] + one["w"]
            and one["y"] < other["y"] + other["h"] and other["y"] < one["y"] + one["h"])


# --- queries ------------------------------------------------------------------------------------


class Grafana:
    """Replaces macros and variables as Grafana does, for one time range (its ends as text)."""

    def __init__(self, start, end, interval_s, values):
        self.start, self.end, self.interval_s, self.values = start, end, interval_s, values

    def expand(self, sql):
        for name, value in self.values.items():
            listed = value if isinstance(value, list) else [value]
            quoted = ",".join("'" + v.replace("'", "''") + "'" for v in listed)
            sql = sql.replace("${%s:sqlstring}" % name, quoted)
            # In the datasource's own format a single value is put in as it is, quotes doubled.
            sql = re.sub(rf"\${name}\b", lambda _: listed[0].replace("'", "''"), sql)
        sql = re.sub(r"\$__interval_ms\b", str(self.interval_s * 1000), sql)
        sql = re.sub(r"\$__interval\b", f"{self.interval_s}s", sql)
        sql = MACRO.sub(lambda m: self.macro(m[1], [a.strip() for a in m[2].split(",")]), sql)
        if "$" in sql:
            raise ValueError(f"{sql[sql.index('$'):][:30]!r} is left in the query")
        return sql

    def macro(self, name, arguments):
        start, end = f"'{self.start}'", f"'{self.end}'"
        match name:
            case "__timeFilter":
                return f"{arguments[0]} BETWEEN {start} AND {end}"
            case "__timeFrom":
                return start
            case "__timeTo":
                return end
            case "__timeGroup" | "__timeGroupAlias":
                if len(arguments) not in (2, 3) or arguments[1] != f"{self.interval_s}s":
                    raise ValueError(f"{name}: wants a column, $__interval and perhaps a fill")
                alias = ' AS "time"' if name.endswith("Alias") else ""
                return f"time_bucket('{self.interval_s:.3f}s',{arguments[0]}){alias}"
        raise ValueError(f"macro {name} is not one that Grafana has for PostgreSQL, or not used here")


def moment(time):
    return f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"


def all_queries(boards, rules):
    """(board, title, kind, SQL) of every query there is."""
    for name, board in boards.items():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                yield name, variable["name"], "variable", variable["query"]
        for annotation in board["annotations"]["list"]:
            yield name, annotation["name"], "annotation", annotation["rawQuery"]
        for panel in children(board["panels"]):
            for target in panel.get("targets", []):
                kind = panel["type"] if target["format"] == "table" else "time_series"
                kind = "states" if panel["type"] == "state-timeline" else kind
                yield name, panel["title"], kind, target["rawSql"]
    for rule in rules:
        for query in rule["data"]:
            if query["datasourceUid"] != "__expr__":
                yield "alert", rule["title"], "alert", query["model"]["rawSql"]


def settings(connection):
    """What variables are tried with: (name, interval in seconds, values, the single satellite)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM satellite ORDER BY spacecraft_id LIMIT 2")
        satellites = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT DISTINCT station FROM ingest_batch")
        station = cursor.fetchone()[0]
    # Without a value: what a variable is when All is chosen.
    yield "everything", 1, {"resolution": "auto", "source": "raw", "severity": [""],
                            "station": [""], "satellite": [""]}, satellites[0]
    yield "two of each", 60, {"resolution": "1m", "source": "1m", "severity": ["critical", "watch"],
                              "station": [station, "o'clock"], "satellite": satellites}, satellites[0]
    yield "one of each", 3600, {"resolution": "1h", "source": "1h", "severity": ["critical"],
                                "station": [station], "satellite": satellites[:1]}, satellites[1]


def check_queries(url, boards, rules):
    """Problems, and how many queries ran."""
    count, problems = 0, []
    with psycopg.connect(url, autocommit=True) as connection:
        user = connection.execute("SELECT current_user").fetchone()[0]
        if user != READER:
            return 0, [f"the URL is of {user}, not of {READER}"]
        now = datetime.now(timezone.utc)
        start = now - timedelta(minutes=30)
        multi = {(name, variable["name"]) for name, board in boards.items()
                 for variable in board["templating"]["list"] if variable.get("multi")}
        for setting, interval_s, values, satellite in settings(connection):
            for board, title, kind, sql in all_queries(boards, rules):
                chosen = dict(values)
                if (board, "satellite") not in multi:
                    chosen["satellite"] = [satellite]
                grafana = Grafana(moment(start), moment(now), interval_s, chosen)
                where = f"{board}: {title!r} ({setting})"
                try:
                    expanded = grafana.expand(sql)
                    found = list(check_query(connection, board, title, kind, expanded))
                    if interval_s > 1 and (board, title) in WHOLE_INTERVALS:
                        found = [problem for problem in found if problem != NO_ROWS]
                except (psycopg.Error, ValueError) as error:
                    found = [str(error).splitlines()[0]]
                problems += [f"{where}: {problem}" for problem in found]
                count += 1
    return count, problems


def check_query(connection, board, title, kind, sql):
    with connection.cursor() as cursor:
        before = datetime.now(timezone.utc)
        cursor.execute(sql)
        rows = cursor.fetchall()
        took_ms = (datetime.now(timezone.utc) - before).total_seconds() * 1000
        columns = [(c.name, c.type_display) for c in cursor.description]
    if took_ms > QUERY_MS_MAX:
        yield f"took {took_ms:.0f} ms"
    if not rows and (board, title) not in MAY_BE_EMPTY:
        yield NO_ROWS
    names = [name for name, _ in columns]
    if len(set(names)) != len(names):
        yield "two columns have the same name"
    kinds = [normal(kind_) for _, kind_ in columns]
    yield from COLUMNS_OF[kind](names, kinds, rows)


def normal(kind):
    kind = kind.split("(")[0]
    return {"timestamptz": "time", "timestamp with time zone": "time"}.get(
        kind, "number" if kind in NUMBERS else "text" if kind in TEXTS else kind)


def time_series(names, kinds, rows):
    if names[0] != "time" or kinds[0] != "time":
        yield "its first column is not the time"
    if "number" not in kinds:
        yield "has no numbers"
    for name, kind in zip(names[1:], kinds[1:]):
        if kind != "number" and name != "metric":
            yield f"column {name} is neither a number nor the metric's name"
    times = [row[0] for row in rows]
    if times != sorted(times):
        yield "is not in the order of time"
    if "metric" in names:
        place = names.index("metric")
        series = len({row[place] for row in rows})
    else:
        series = kinds.count("number")
    if series > SERIES_MAX:
        yield f"draws {series} lines"


def states(names, kinds, rows):
    if names[0] != "time" or kinds[0] != "time":
        yield "its first column is not the time"
    if set(kinds[1:]) != {"text"}:
        yield "a state that is no text"
    if all(value is None for row in rows for value in row[1:]):
        yield "gave no state"


def numbers(names, kinds, rows):
    if "number" not in kinds:
        yield "has no numbers"
    if len(rows) > 1:
        yield f"gave {len(rows)} rows"


def bars(names, kinds, rows):
    if kinds != ["text", "number"]:
        yield "is not a name and a number"
    if len(rows) > 10:
        yield f"gave {len(rows)} bars"


def positions(names, kinds, rows):
    for column in ("latitude", "longitude"):
        if column not in names or kinds[names.index(column)] != "number":
            yield f"has no {column}"


def rows_of_a_table(names, kinds, rows):
    if len(rows) > TABLE_ROWS_MAX:
        yield f"gave {len(rows)} rows"
    for name, kind in zip(names, kinds):
        if kind not in {"time", "number", "text"}:
            yield f"column {name} is a {kind}, which Grafana does not show"


def one_variable(names, kinds, rows):
    if kinds != ["text"]:
        yield "is not one column of text"


def annotation(names, kinds, rows):
    if names != ["time", "timeend", "text", "tags"] or kinds != ["time", "time", "text", "text"]:
        yield "is not time, timeend, text and tags"


def alert(names, kinds, rows):
    if kinds.count("number") != 1 or set(kinds) != {"number", "text"}:
        yield "is not labels and one number"


COLUMNS_OF = {
    "time_series": time_series, "states": states, "stat": numbers, "bargauge": bars,
    "geomap": positions, "table": rows_of_a_table, "variable": one_variable,
    "annotation": annotation, "alert": alert,
}


# --- what a browser asks --------------------------------------------------------------------------


def interval_s(range_s, panel):
    """$__interval of a panel: a point for each pixel, rounded, and not below the shortest allowed."""
    wanted_s = range_s / (panel["gridPos"]["w"] / GRID_COLUMNS * WINDOW_PX)
    rounded_s = next((step for below, step in INTERVALS_S if wanted_s < below), INTERVALS_S[-1][1])
    return max(rounded_s, duration_s(panel.get("interval", "1s")), 1)


def duration_s(text):
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


def opened(connection, board, range_s):
    """The variables of a dashboard as they are when it is opened."""
    now = datetime.now(timezone.utc)
    start, end = moment(now - timedelta(seconds=range_s)), moment(now)
    values = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "datasource":
            continue
        if variable.get("includeAll"):
            values[variable["name"]] = [""]
        elif variable["type"] == "query":
            sql = Grafana(start, end, 1, values).expand(variable["query"])
            values[variable["name"]] = [connection.execute(sql).fetchone()[0]]
        else:
            values[variable["name"]] = [variable["current"]["value"]]
    return values


def refresh(connection, name, board):
    """What is asked at each refresh: panels, annotations, variables that follow the time range."""
    range_s = duration_s(board["time"]["from"].removeprefix("now-"))
    values = opened(connection, board, range_s)
    asked = [(f"variable {v['name']}", 1, v["query"]) for v in board["templating"]["list"]
             if v["type"] == "query" and v["refresh"] == 2]
    asked += [(f"annotation {a['name']}", 1, a["rawQuery"]) for a in board["annotations"]["list"]]
    asked += [(panel["title"], interval_s(range_s, panel), target["rawSql"])
              for panel in children(board["panels"]) for target in panel.get("targets", [])]
    return {"dashboard": name, "range_s": range_s,
            "queries": [{"panel": title,
                         "sql": Grafana("@from@", "@to@", interval, values).expand(sql)}
                        for title, interval, sql in asked]}


def print_queries(url, boards, names):
    with psycopg.connect(url, autocommit=True) as connection:
        print(json.dumps([refresh(connection, name, boards[name]) for name in names]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--database-url")
    parser.add_argument("--as", dest="replaced")
    parser.add_argument("--print", dest="printed", type=lambda names: names.split(","))
    arguments = parser.parse_args()
    text = sys.stdin.read() if arguments.replaced else None
    files = Files(arguments.root, arguments.replaced, text)
    try:
        boards, rules = files.boards(), files.rules()
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        print(str(error).splitlines()[0])
        return 1

    if arguments.printed:
        print_queries(arguments.database_url, boards, arguments.printed)
        return 0

    problems = [] if set(boards) == BOARDS else [f"the dashboards are not {sorted(BOARDS)}"]
    for name, board in boards.items():
        problems += [f"{name}: {problem}" for problem in check_board(name, board)]
    problems += check_links(boards)
    problems += check_rules(rules, boards)
    count = 0
    if arguments.database_url:
        asked, asked_rules = boards, rules
        if arguments.replaced:
            asked = {n: b for n, b in boards.items() if arguments.replaced == f"{FOLDER}/{n}.json"}
            asked_rules = rules if arguments.replaced == ALERTS else []
        count, found = check_queries(arguments.database_url, asked, asked_rules)
        problems += found
    for problem in problems:
        print(problem)
    if not problems:
        panels = sum(1 for b in boards.values() for p in children(b["panels"]) if p["type"] != "row")
        print(f"{len(boards)} dashboards, {panels} panels, {len(rules)} alert rules; "
              f"{count} queries ran")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
