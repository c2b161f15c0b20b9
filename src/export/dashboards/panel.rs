//! One panel, and how it is written for Grafana.

use serde_json::{Value, json};

/// Grafana divides a row into this many columns.
pub(super) const COLUMNS: u32 = 24;
/// Height of a panel in Grafana's rows.
const HEIGHT: u32 = 8;
/// The uid of the data source of traces, as `docker/grafana/provisioning` gives it.
const TEMPO: &str = "tempo";

/// How a panel shows its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Over time.
    Lines,
    /// Over time, one above the other.
    Stack,
    /// The last value, large.
    Number,
    /// Now, a row an object and a column a query.
    Table,
    /// Over time, a bar an object that changes its colour; values stand for words.
    States(&'static [&'static str]),
    /// Traces, newest first; the query is one of TraceQL.
    Traces,
}

/// A question to Prometheus.
struct Query {
    expr: String,
    /// The legend of a line, the heading of a table's column.
    legend: &'static str,
    /// A table's column has a unit of its own.
    unit: Option<&'static str>,
}

/// One panel.
pub(super) struct Panel {
    title: String,
    about: String,
    look: Look,
    /// Grafana's name of the unit: `s`, `percentunit`, `short`, `bytes`, `ops`.
    unit: &'static str,
    queries: Vec<Query>,
    /// From here it is yellow, from there red; the other way round when the first is the larger.
    limits: Option<(f64, f64)>,
    /// Everything but this is red.
    exactly: Option<f64>,
    /// Columns of 24.
    pub(super) width: u32,
    /// Ends of the legends of lines that are dashed: the ends of intervals.
    dashed: &'static [&'static str],
    /// By which column a table is sorted, and whether the largest comes first.
    sorted: Option<(&'static str, bool)>,
    /// May a share be more than the whole?
    open_ended: bool,
    /// Labels that a table does not show.
    hidden: &'static [&'static str],
    /// Where a click on a label leads: label, title, address.
    link: Option<(&'static str, &'static str, String)>,
}

impl Panel {
    pub(super) fn new(look: Look, title: &str, unit: &'static str, query: impl Into<String>, legend: &'static str) -> Panel {
        let width = match look {
            Look::Number => 4,
            Look::Table | Look::Traces => COLUMNS,
            Look::Lines | Look::Stack | Look::States(_) => COLUMNS / 2,
        };
        Panel {
            title: title.to_owned(),
            about: String::new(),
            look,
            unit,
            queries: vec![Query { expr: query.into(), legend, unit: None }],
            limits: None,
            width,
            dashed: &[],
            sorted: None,
            open_ended: false,
            exactly: None,
            hidden: &[],
            link: None,
        }
    }

    pub(super) fn lines(title: &str, unit: &'static str, query: impl Into<String>, legend: &'static str) -> Panel {
        Panel::new(Look::Lines, title, unit, query, legend)
    }

    pub(super) fn stack(title: &str, unit: &'static str, query: impl Into<String>, legend: &'static str) -> Panel {
        Panel::new(Look::Stack, title, unit, query, legend)
    }

    pub(super) fn number(title: &str, unit: &'static str, query: impl Into<String>, legend: &'static str) -> Panel {
        Panel::new(Look::Number, title, unit, query, legend)
    }

    pub(super) fn table(title: &str, unit: &'static str, query: impl Into<String>, heading: &'static str) -> Panel {
        let mut table = Panel::new(Look::Table, title, "short", query, heading);
        table.queries[0].unit = Some(unit);
        table
    }

    pub(super) fn states(title: &str, words: &'static [&'static str], query: impl Into<String>, legend: &'static str) -> Panel {
        Panel::new(Look::States(words), title, "short", query, legend)
    }

    /// Traces whose query of TraceQL this is.
    pub(super) fn traces(title: &str, query: &str) -> Panel {
        Panel::new(Look::Traces, title, "short", query, "")
    }

    pub(super) fn about(mut self, about: &str) -> Panel {
        about.clone_into(&mut self.about);
        self
    }

    pub(super) fn and(mut self, query: impl Into<String>, legend: &'static str) -> Panel {
        self.queries.push(Query { expr: query.into(), legend, unit: None });
        self
    }

    /// One more column of a table.
    pub(super) fn column(mut self, query: impl Into<String>, heading: &'static str, unit: &'static str) -> Panel {
        self.queries.push(Query { expr: query.into(), legend: heading, unit: Some(unit) });
        self
    }

    pub(super) fn limits(mut self, yellow: f64, red: f64) -> Panel {
        self.limits = Some((yellow, red));
        self
    }

    /// For counts: everything but this is red.
    pub(super) fn exactly(mut self, count: f64) -> Panel {
        self.exactly = Some(count);
        self
    }

    pub(super) fn wide(mut self, columns: u32) -> Panel {
        self.width = columns;
        self
    }

    pub(super) fn dashed(mut self, endings: &'static [&'static str]) -> Panel {
        self.dashed = endings;
        self
    }

    /// A table whose largest values of this column come first.
    pub(super) fn sorted(mut self, heading: &'static str) -> Panel {
        self.sorted = Some((heading, true));
        self
    }

    /// A table whose smallest values of this column come first.
    pub(super) fn ascending(mut self, heading: &'static str) -> Panel {
        self.sorted = Some((heading, false));
        self
    }

    /// A share that may be more than the whole.
    pub(super) fn open_ended(mut self) -> Panel {
        self.open_ended = true;
        self
    }

    pub(super) fn hidden(mut self, labels: &'static [&'static str]) -> Panel {
        self.hidden = labels;
        self
    }

    /// A click on this label of a table leads there; `${__data.fields.…}` in the address is filled in by Grafana.
    pub(super) fn link(mut self, label: &'static str, title: &'static str, address: String) -> Panel {
        self.link = Some((label, title, address));
        self
    }

    pub(super) fn height(&self) -> u32 {
        if self.look == Look::Number { HEIGHT / 2 } else { HEIGHT }
    }

    fn source(&self) -> Value {
        match self.look {
            Look::Traces => json!({ "type": "tempo", "uid": TEMPO }),
            _ => json!({ "type": "prometheus", "uid": "${source}" }),
        }
    }

    fn targets(&self) -> Vec<Value> {
        let now = matches!(self.look, Look::Number | Look::Table);
        self.queries
            .iter()
            .zip('A'..='Z')
            .map(|(query, letter)| match self.look {
                Look::Traces => json!({
                    "refId": letter, "datasource": self.source(), "queryType": "traceql", "query": query.expr, "limit": 20, "tableType": "traces",
                }),
                _ => json!({
                    "refId": letter, "datasource": self.source(), "expr": query.expr, "legendFormat": query.legend,
                    "instant": now, "range": !now, "format": if self.look == Look::Table { "table" } else { "time_series" },
                    "exemplar": !now && query.expr.contains("_bucket"),
                }),
            })
            .collect()
    }

    fn kind(&self) -> (&'static str, Value) {
        match self.look {
            Look::Number => (
                "stat",
                json!({ "colorMode": "value", "graphMode": "none", "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false } }),
            ),
            Look::Lines | Look::Stack => (
                "timeseries",
                json!({
                    "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": ["lastNotNull", "max"] },
                    "tooltip": { "mode": "multi", "sort": "desc" },
                }),
            ),
            Look::States(_) => (
                "state-timeline",
                json!({
                    "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                    "tooltip": { "mode": "single", "sort": "none" }, "mergeValues": true, "showValue": "auto", "rowHeight": 0.8,
                }),
            ),
            Look::Table => {
                let sorted: Vec<Value> =
                    self.sorted.iter().map(|(heading, desc)| json!({ "displayName": heading, "desc": desc })).collect();
                ("table", json!({ "showHeader": true, "cellHeight": "sm", "sortBy": sorted }))
            }
            Look::Traces => ("table", json!({ "showHeader": true, "cellHeight": "sm" })),
        }
    }

    fn custom(&self) -> Value {
        let mut custom = match self.look {
            Look::Lines | Look::Stack => json!({ "lineWidth": 1, "fillOpacity": 10, "showPoints": "never" }),
            Look::States(_) => json!({ "lineWidth": 0, "fillOpacity": 70 }),
            Look::Number | Look::Table | Look::Traces => json!({}),
        };
        match self.look {
            Look::Stack => custom["stacking"] = json!({ "mode": "normal", "group": "A" }),
            Look::Lines if self.limits.is_some() => custom["thresholdsStyle"] = json!({ "mode": "dashed" }),
            _ => {}
        }
        custom
    }

    fn steps(&self) -> Vec<Value> {
        if let Some(count) = self.exactly {
            return vec![
                json!({ "color": "red", "value": null }),
                json!({ "color": "green", "value": count }),
                json!({ "color": "red", "value": count + 1.0 }),
            ];
        }
        match self.limits {
            // Grafana colours upwards: what is low is bad here.
            Some((yellow, red)) if yellow > red => vec![
                json!({ "color": "red", "value": null }),
                json!({ "color": "yellow", "value": red }),
                json!({ "color": "green", "value": yellow }),
            ],
            Some((yellow, red)) => vec![
                json!({ "color": "green", "value": null }),
                json!({ "color": "yellow", "value": yellow }),
                json!({ "color": "red", "value": red }),
            ],
            None => vec![json!({ "color": "green", "value": null })],
        }
    }

    fn mappings(&self) -> Vec<Value> {
        let Look::States(words) = self.look else { return Vec::new() };
        let colours = ["green", "yellow", "orange", "red", "dark-red"];
        let options: serde_json::Map<String, Value> = words
            .iter()
            .enumerate()
            .map(|(place, word)| {
                // The last word is the worst, however few there are.
                let worst = place + 1 == words.len() && place > 0 && words.len() < colours.len();
                let colour = if worst { "red" } else { colours[place.min(colours.len() - 1)] };
                (place.to_string(), json!({ "text": word, "color": colour, "index": place }))
            })
            .collect();
        vec![json!({ "type": "value", "options": options })]
    }

    /// What Grafana calls the column of a query.
    fn field(&self, letter: char) -> String {
        if self.queries.len() == 1 { "Value".to_owned() } else { format!("Value #{letter}") }
    }

    fn transformations(&self) -> Vec<Value> {
        if self.look != Look::Table {
            return Vec::new();
        }
        let hidden = ["Time", "__name__", "job", "instance"].iter().chain(self.hidden);
        let hidden: serde_json::Map<String, Value> = hidden.map(|name| ((*name).to_owned(), json!(true))).collect();
        let headings = self.queries.iter().zip('A'..='Z').map(|(query, letter)| (self.field(letter), json!(query.legend)));
        let headings: serde_json::Map<String, Value> = headings.collect();
        vec![
            json!({ "id": "merge", "options": {} }),
            json!({ "id": "organize", "options": { "excludeByName": hidden, "indexByName": {}, "renameByName": headings } }),
        ]
    }

    fn overrides(&self) -> Vec<Value> {
        let of = |name: &str, properties: Value| json!({ "matcher": { "id": "byName", "options": name }, "properties": properties });
        let mut overrides = Vec::new();
        if self.look == Look::Table {
            let units = self.queries.iter().filter_map(|query| Some((query.legend, query.unit?)));
            overrides.extend(units.map(|(heading, unit)| of(heading, json!([{ "id": "unit", "value": unit }]))));
        }
        if let Some((label, title, address)) = &self.link {
            overrides.push(of(label, json!([{ "id": "links", "value": [{ "title": title, "url": address, "targetBlank": true }] }])));
        }
        if !self.dashed.is_empty() {
            let matcher = json!({ "id": "byRegexp", "options": format!("/ ({})$/", self.dashed.join("|")) });
            let style = json!({ "id": "custom.lineStyle", "value": { "fill": "dash", "dash": [6, 6] } });
            overrides.push(json!({ "matcher": matcher, "properties": [style, { "id": "custom.fillOpacity", "value": 0 }] }));
        }
        overrides
    }

    pub(super) fn written(&self, id: usize, x: u32, y: u32) -> Value {
        let (kind, options) = self.kind();
        let mut defaults = json!({
            "unit": self.unit, "custom": self.custom(), "mappings": self.mappings(),
            "thresholds": { "mode": "absolute", "steps": self.steps() },
        });
        if self.unit == "percentunit" && self.look != Look::Number {
            defaults["min"] = json!(0);
            if !self.open_ended {
                defaults["max"] = json!(1);
            }
        }
        json!({
            "id": id,
            "type": kind,
            "title": self.title,
            "description": self.about,
            "datasource": self.source(),
            "gridPos": { "x": x, "y": y, "w": self.width, "h": self.height() },
            "targets": self.targets(),
            "transformations": self.transformations(),
            "options": options,
            "fieldConfig": { "defaults": defaults, "overrides": self.overrides() },
        })
    }
}
