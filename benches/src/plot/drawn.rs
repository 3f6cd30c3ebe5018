//! The two charts: against the number of files, over loopback; and against the round trip, with the same number of files.

use super::LINK_FILES;
use super::chart::{Chart, Line, Point};
use super::figures::{Figures, Place, grouped};

/// Where loopback stands on a scale of round trips, in milliseconds: its own is not measured.
const LOOPBACK_MS: f64 = 0.2;

/// The charts that the figures are enough for, each with the name of its file.
pub(super) fn charts(figures: &Figures) -> Vec<(&'static str, Chart)> {
    let places = figures.places();
    let mut charts = Vec::new();
    if places.iter().any(|place| place.round_trip_ms == 0) {
        charts.push(("save-by-files.svg", by_files(figures, &places)));
    }
    if places.iter().any(|place| place.round_trip_ms > 0) {
        charts.push(("save-by-round-trip.svg", by_round_trip(figures, &places)));
    }
    charts
}

fn by_files(figures: &Figures, places: &[Place]) -> Chart {
    let places: Vec<(f64, Place)> =
        places.iter().filter(|place| place.round_trip_ms == 0).map(|place| (place.files as f64, *place)).collect();
    Chart {
        title: "Save → visible against the number of files, loopback".to_owned(),
        x_label: "files in the tree".to_owned(),
        x_ticks: places.iter().map(|(x, place)| (*x, grouped(place.files))).collect(),
        lines: lines(figures, &places),
    }
}

fn by_round_trip(figures: &Figures, places: &[Place]) -> Chart {
    let at = |place: &Place| if place.round_trip_ms == 0 { LOOPBACK_MS } else { place.round_trip_ms as f64 };
    let of_size = places.iter().filter(|place| place.files == LINK_FILES);
    let places: Vec<(f64, Place)> = of_size.map(|place| (at(place), *place)).collect();
    let label = |place: &Place| match place.round_trip_ms {
        0 => "loopback".to_owned(),
        ms => format!("{ms} ms"),
    };
    let mut lines = lines(figures, &places);
    let half = |(ms, _): &(f64, Place)| Point { x: *ms, median: ms / 2_000.0, tail: None };
    lines.push(Line {
        name: "half of it: the link".to_owned(),
        class: "link".to_owned(),
        dashed: true,
        points: places.iter().map(half).collect(),
    });
    Chart {
        title: format!("Save → visible against the round trip, {} files", grouped(LINK_FILES)),
        x_label: format!("round trip (loopback is drawn at {LOOPBACK_MS} ms)"),
        x_ticks: places.iter().map(|(x, place)| (*x, label(place))).collect(),
        lines,
    }
}

fn lines(figures: &Figures, places: &[(f64, Place)]) -> Vec<Line> {
    let line = |tool| {
        let point = |(x, place): &(f64, Place)| {
            let figure = figures.saves.get(&(*place, tool))?.figure();
            Some(Point { x: *x, median: figure.percentile(50)?, tail: figure.percentile(99) })
        };
        let points: Vec<Point> = places.iter().filter_map(point).collect();
        (!points.is_empty()).then(|| Line {
            name: tool.name().to_owned(),
            class: tool.name().to_lowercase(),
            dashed: false,
            points,
        })
    };
    figures.tools().into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::some;
    use super::*;

    #[test]
    fn each_chart_has_a_line_a_tool() {
        let figures = some();
        let charts = charts(&figures);
        let told: Vec<(&str, usize, Vec<&str>)> = charts
            .iter()
            .map(|(name, chart)| {
                (*name, chart.x_ticks.len(), chart.lines.iter().map(|line| line.name.as_str()).collect())
            })
            .collect();
        assert_eq!(
            told,
            [
                ("save-by-files.svg", 2, vec!["synctl", "rsync", "Unison"]),
                ("save-by-round-trip.svg", 3, vec!["synctl", "rsync", "Unison", "half of it: the link"]),
            ]
        );
        let synctl = charts.iter().filter_map(|(_, chart)| chart.lines.first()).flat_map(|line| &line.points);
        let synctl: Vec<f64> = synctl.map(|point| point.median).collect();
        assert_eq!(synctl, [0.001, 0.001, 0.001, 0.006, 0.026]);
    }

    #[test]
    fn without_links_there_is_one_chart() {
        let mut figures = some();
        figures.saves.retain(|(place, _), _| place.round_trip_ms == 0);
        assert_eq!(charts(&figures).len(), 1);
    }
}
