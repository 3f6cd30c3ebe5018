//! A plot as SVG: both scales logarithmic, a line a tool through its medians, from each median a bar up to its tail. Equal
//! charts give equal bytes. It brings its own paper and follows the reader's colour scheme.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// Where the axes are.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 356.0;
/// Between the names of two lines, at least.
const NAME_HEIGHT: f64 = 18.0;

/// Colours: of the name, on white, on black.
const COLOURS: [(&str, &str, &str); 7] = [
    ("synctl", "#0550ae", "#58a6ff"),
    ("rsync", "#bc4c00", "#f0883e"),
    ("lsyncd", "#8250df", "#bc8cff"),
    ("unison", "#1a7f37", "#56d364"),
    ("syncthing", "#bf3989", "#f778ba"),
    ("mutagen", "#7d4e00", "#e3b341"),
    ("link", "#6e7781", "#8b949e"),
];

/// Seconds against something.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x_label: String,
    pub(super) x_ticks: Vec<(f64, String)>,
    pub(super) lines: Vec<Line>,
}

/// What one tool does.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// A name of [`COLOURS`].
    pub(super) class: String,
    pub(super) dashed: bool,
    pub(super) points: Vec<Point>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) x: f64,
    /// Seconds.
    pub(super) median: f64,
    pub(super) tail: Option<f64>,
}

/// From values to places, by their logarithms.
#[derive(Debug, Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// One value alone stands in the middle.
    fn at(&self, value: f64) -> f64 {
        let part = (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln());
        self.start + if part.is_finite() { part } else { 0.5 } * (self.end - self.start)
    }
}

impl Chart {
    pub(super) fn svg(&self) -> String {
        let (x, y) = (self.x(), self.y());
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n<title>{title}</title>\n{style}\
             <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
             <text x=\"{LEFT}\" y=\"30\" font-size=\"16\">{title}</text>\n",
            title = escaped(&self.title),
            style = style(),
        );
        self.axes(&mut svg, x, y);
        for (line, name_y) in self.lines.iter().zip(self.name_places(y)) {
            draw(&mut svg, line, x, y, name_y);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn x(&self) -> Scale {
        let (low, high) = bounds(self.x_ticks.iter().map(|(x, _)| *x));
        // Away from the edges, so that bars and marks are seen whole.
        Scale { low, high, start: LEFT + 24.0, end: RIGHT - 24.0 }
    }

    /// Whole powers of ten around all there is.
    fn y(&self) -> Scale {
        let points = self.lines.iter().flat_map(|line| &line.points);
        let (low, high) = bounds(points.flat_map(|point| [point.median, point.tail.unwrap_or(point.median)]));
        // What is a power of ten but for rounding is one.
        let (low, high) = ((low.log10() + 1e-9).floor(), (high.log10() - 1e-9).ceil());
        Scale { low: 10_f64.powf(low), high: 10_f64.powf(high.max(low + 1.0)), start: BOTTOM, end: TOP }
    }

    fn axes(&self, svg: &mut String, x: Scale, y: Scale) {
        let decades = (y.high / y.low).log10().round() as i32;
        for decade in 0..=decades {
            let value = y.low * 10_f64.powi(decade);
            let place = y.at(value);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {place:.1}H{RIGHT}\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                place + 4.0,
                seconds(value)
            );
        }
        for (value, label) in &self.x_ticks {
            let place = x.at(*value);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{place:.1} {TOP}V{BOTTOM}\"/>\n\
                 <text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                BOTTOM + 20.0,
                escaped(label)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            (LEFT + RIGHT) / 2.0,
            BOTTOM + 46.0,
            escaped(&self.x_label)
        );
    }

    /// How high the name of each line stands: at its end, or as far from there as the others need.
    fn name_places(&self, y: Scale) -> Vec<f64> {
        let end = |line: &Line| line.points.last().map_or(BOTTOM, |point| y.at(point.median));
        let mut order: Vec<(usize, f64)> = self.lines.iter().map(end).enumerate().collect();
        order.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        let mut places = vec![0.0; order.len()];
        let mut above = TOP - NAME_HEIGHT;
        for (line, wanted) in order {
            above = wanted.max(above + NAME_HEIGHT);
            if let Some(place) = places.get_mut(line) {
                *place = above;
            }
        }
        places
    }
}

fn draw(svg: &mut String, line: &Line, x: Scale, y: Scale, name_y: f64) {
    let dashes = if line.dashed { " stroke-dasharray=\"5 5\"" } else { "" };
    let _ = writeln!(svg, "<g class=\"{}\" fill=\"currentColor\" stroke=\"none\">", escaped(&line.class));
    let places: Vec<String> =
        line.points.iter().map(|point| format!("{:.1},{:.1}", x.at(point.x), y.at(point.median))).collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\"{dashes}/>",
        places.join(" ")
    );
    for point in line.points.iter().filter(|_| !line.dashed) {
        let (across, middle) = (x.at(point.x), y.at(point.median));
        let _ = writeln!(svg, "<circle cx=\"{across:.1}\" cy=\"{middle:.1}\" r=\"4\"/>");
        if let Some(tail) = point.tail {
            let _ = writeln!(
                svg,
                "<path d=\"M{across:.1} {middle:.1}V{tail:.1}M{:.1} {tail:.1}h8\" stroke=\"currentColor\"/>",
                across - 4.0,
                tail = y.at(tail)
            );
        }
    }
    let _ = writeln!(
        svg,
        "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n</g>",
        RIGHT + 8.0,
        name_y + 4.0,
        escaped(&line.name)
    );
}

fn style() -> String {
    let mut style =
        String::from("<style>\n.paper{fill:#fff}text{fill:#24292f}.grid{stroke:#d0d7de}.name{fill:currentColor}\n");
    for (class, on_white, _) in COLOURS {
        let _ = write!(style, ".{class}{{color:{on_white}}}");
    }
    style.push_str("\n@media (prefers-color-scheme:dark){.paper{fill:#0d1117}text{fill:#e6edf3}.grid{stroke:#30363d}");
    style.push_str(".name{fill:currentColor}\n");
    for (class, _, on_black) in COLOURS {
        let _ = write!(style, ".{class}{{color:{on_black}}}");
    }
    style.push_str("}\n</style>\n");
    style
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values = values.filter(|value| *value > 0.0);
    let (low, high) = values.fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if low > high { (1.0, 10.0) } else { (low, high) }
}

/// A power of ten.
fn seconds(value: f64) -> String {
    match value {
        value if value < 0.000_9 => format!("{:.0} µs", value * 1e6),
        value if value < 0.9 => format!("{:.0} ms", value * 1e3),
        value => format!("{value:.0} s"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let line = |name: &str, points: &[(f64, f64, Option<f64>)]| Line {
            name: name.to_owned(),
            class: "rsync".to_owned(),
            dashed: false,
            points: points.iter().map(|(x, median, tail)| Point { x: *x, median: *median, tail: *tail }).collect(),
        };
        Chart {
            title: "a < b & \"c\"".to_owned(),
            x_label: "files".to_owned(),
            x_ticks: vec![(1_000.0, "1,000".to_owned()), (100_000.0, "100,000".to_owned())],
            lines: vec![
                line("one", &[(1_000.0, 0.001, Some(0.01)), (10_000.0, 0.01, None), (100_000.0, 0.1, None)]),
                line("two", &[(1_000.0, 0.001, None), (100_000.0, 0.1, Some(1.0))]),
            ],
        }
    }

    /// Each element ends where it should; gives how many there are.
    fn elements(svg: &str) -> usize {
        let (mut open, mut count) = (Vec::new(), 0);
        for part in svg.split('<').skip(1) {
            let (tag, text) = part.split_once('>').expect("each < has its >");
            assert!(!text.contains('>') && tag.matches('"').count().is_multiple_of(2), "{part}");
            let name = tag.split_whitespace().next().expect("an element has a name").trim_end_matches('/');
            if let Some(name) = name.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "{part}");
            } else {
                count += 1;
                if !tag.ends_with('/') {
                    open.push(name);
                }
            }
        }
        assert!(open.is_empty(), "{open:?}");
        count
    }

    #[test]
    fn it_is_well_formed_and_the_same_every_time() {
        let svg = chart().svg();
        assert!(elements(&svg) > 20, "{svg}");
        assert!(
            svg.contains("<title>a &lt; b &amp; &quot;c&quot;</title>") && svg.contains("prefers-color-scheme:dark")
        );
        assert_eq!(svg, chart().svg());
        elements(&Chart { lines: Vec::new(), x_ticks: Vec::new(), ..chart() }.svg());
    }

    #[test]
    fn points_stand_where_their_logarithms_are() {
        let svg = chart().svg();
        // 1 ms to 1 s in 300 units from below: 100 a decade. 1,000 to 100,000 files from 100 to 596.
        let has = |text: &str| assert!(svg.contains(text), "{text} in {svg}");
        has("<polyline points=\"100.0,356.0 348.0,256.0 596.0,156.0\"");
        has("<circle cx=\"348.0\" cy=\"256.0\" r=\"4\"/>");
        has("d=\"M100.0 356.0V256.0M96.0 256.0h8\"");
        has("d=\"M596.0 156.0V56.0M592.0 56.0h8\"");
        for label in ["1 ms", "10 ms", "100 ms", "1 s"] {
            has(&format!("text-anchor=\"end\">{label}</text>"));
        }
    }

    #[test]
    fn names_at_one_place_stand_below_each_other() {
        let chart = chart();
        let places: Vec<f64> = chart.name_places(chart.y()).into_iter().map(f64::round).collect();
        assert_eq!(places, [156.0, 156.0 + NAME_HEIGHT]);
    }
}
