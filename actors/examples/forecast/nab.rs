//! Numenta Anomaly Benchmark, open files, by events: an alarm counts only if it begins inside a labelled window, once a window.

use homeostat_actors::forecast::{Series, anomalies, threshold};
use homeostat_schemas::time::parse;
use serde_json::Value;
use std::path::Path;

const HOUR: u64 = 3_600_000;

pub(crate) fn run(data: &Path) {
    println!("\nNumenta Anomaly Benchmark, open files, by events");
    let nab = data.join("nab");
    let labels: Value = serde_json::from_str(&std::fs::read_to_string(nab.join("labels.json")).unwrap()).unwrap();
    let mut halves = [[0_usize; 3]; 2];
    let mut days = 0.0;
    for (index, (file, label)) in labels.as_object().unwrap().iter().enumerate() {
        let text = std::fs::read_to_string(nab.join(file)).unwrap();
        let points: Vec<(u64, f64)> =
            text.lines().skip(1).filter_map(|line| line.split_once(',')).map(|(at, v)| (parse(at).unwrap(), v.parse().unwrap())).collect();
        let series = Series::of(&points);
        let seen = anomalies(&series.values, None, series.step_ms(), threshold(series.step_ms(), 1.0));
        let from = points[(points.len() * 15 / 100).min(750)].0;
        days += (points[points.len() - 1].0 - from) as f64 / (24 * HOUR) as f64;
        let instant = |v: &Value| parse(&v.as_str().unwrap()[..19]).unwrap();
        let windows: Vec<(u64, u64)> = label["windows"].as_array().unwrap().iter().map(|w| (instant(&w[0]), instant(&w[1]))).collect();
        let mut alarms: Vec<(u64, u64)> = Vec::new();
        for found in &seen.incidents {
            let at = |cell: u64| series.at(usize::try_from(cell).unwrap());
            let (start, end) = (at(found.start), at(found.end));
            match alarms.last_mut() {
                Some(last) if start <= last.1 + HOUR => last.1 = end,
                _ if start >= from => alarms.push((start, end)),
                _ => {}
            }
        }
        let mut hit = vec![false; windows.len()];
        let mut wrong = 0;
        for (start, _) in &alarms {
            match windows.iter().position(|(a, b)| (a..=b).contains(&start)) {
                Some(place) if !hit[place] => hit[place] = true,
                _ => wrong += 1,
            }
        }
        let right = hit.iter().filter(|hit| **hit).count();
        println!("{file:<56} {right} of {} windows, {wrong} false", windows.len());
        for (cell, more) in halves[index % 2].iter_mut().zip([right, wrong, windows.len() - right]) {
            *cell += more;
        }
    }
    let f1 = |[tp, fp, missed]: [usize; 3]| 2.0 * tp as f64 / (2 * tp + fp + missed) as f64;
    let all = [0, 1, 2].map(|k| halves[0][k] + halves[1][k]);
    println!(
        "F1 {:.3} ({:.3} and {:.3} by halves): {} right, {} false, {} missed, {:.3} false a day",
        f1(all),
        f1(halves[0]),
        f1(halves[1]),
        all[0],
        all[1],
        all[2],
        all[1] as f64 / days
    );
}
