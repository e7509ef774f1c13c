//! The chart: waits by faulty coordinators for each number of signers and each way to group them, then duplicates.

use std::fmt::Write;
use std::time::Duration;

use super::Row;
use super::failover::{Case, Fault, TIERS};

const WIDTH: f64 = 1080.0;
const PANEL: (f64, f64) = (280.0, 190.0);
const LEFT: f64 = 80.0;
const TOP: f64 = 118.0;
const STEP: (f64, f64) = (340.0, 262.0);
/// Colours that differ for most kinds of colour blindness (Okabe and Ito).
const FAULTS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
const GROUPS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

pub const STYLE: &str = "
  .ground { fill: #ffffff } .frame { fill: none; stroke: #8a8a8a } .grid { stroke: #e2e2e2 }
  text { fill: #222222; font: 13px sans-serif } .title { font: bold 15px sans-serif } .small { font-size: 11.5px }
  .formula { fill: none; stroke: #777777; stroke-width: 1.5; stroke-dasharray: 5 4 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #16191d } .frame { stroke: #8a8a8a } .grid { stroke: #353a40 } text { fill: #e4e4e4 }
    .formula { stroke: #a8a8a8 }
  }
";

/// A panel's axes: from 0 to these.
struct Axes {
    at: (f64, f64),
    most: (f64, f64),
}

impl Axes {
    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let (left, top) = self.at;
        (left + x / self.most.0 * PANEL.0, top + PANEL.1 - y / self.most.1 * PANEL.1)
    }

    fn draw(&self, svg: &mut String, title: &str, unit: (&str, &str)) {
        let (left, top) = self.at;
        for (value, vertical) in
            ticks(self.most.0).map(|x| (x, true)).chain(ticks(self.most.1).map(|y| (y, false)))
        {
            let (x, y) = if vertical { self.place(value, 0.0) } else { self.place(0.0, value) };
            let (x2, y2) = if vertical { (x, top) } else { (left + PANEL.0, y) };
            let _ =
                writeln!(svg, r#"<line class="grid" x1="{x:.1}" y1="{y:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
            let (x, y, anchor) = if vertical { (x, y + 16.0, "middle") } else { (x - 6.0, y + 4.0, "end") };
            let _ = writeln!(
                svg,
                r#"<text class="small" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{value}</text>"#
            );
        }
        let (width, height) = PANEL;
        let _ =
            writeln!(svg, r#"<rect class="frame" x="{left}" y="{top}" width="{width}" height="{height}"/>"#);
        let (x, y) = (left + width / 2.0, top - 9.0);
        let _ = writeln!(svg, r#"<text x="{x}" y="{y}" text-anchor="middle">{title}</text>"#);
        let y = top + height + 32.0;
        let _ =
            writeln!(svg, r#"<text class="small" x="{x}" y="{y}" text-anchor="middle">{}</text>"#, unit.0);
        let (x, y) = (left - 46.0, top + height / 2.0);
        let _ = writeln!(
            svg,
            r#"<text class="small" transform="translate({x} {y}) rotate(-90)" text-anchor="middle">{}</text>"#,
            unit.1
        );
    }
}

/// Four to six round numbers from 0 to `most`.
fn ticks(most: f64) -> impl Iterator<Item = f64> {
    let rough = most / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
    let step = step.unwrap_or(rough).max(1.0);
    (0..).map(move |number| f64::from(number) * step).take_while(move |value| *value <= most)
}

/// A mark of its own shape for each series, so that those that coincide can be told apart.
pub fn mark(svg: &mut String, series: usize, colour: &str, (x, y): (f64, f64)) {
    let style = format!(r#"fill="none" stroke="{colour}" stroke-width="1.8""#);
    let _ = match series {
        0 => writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="5.5" {style}/>"#),
        1 => {
            let (a, b, c, d) = (x - 3.5, y - 3.5, x + 3.5, y + 3.5);
            writeln!(svg, r#"<path d="M{a:.1} {b:.1}L{c:.1} {d:.1}M{a:.1} {d:.1}L{c:.1} {b:.1}" {style}/>"#)
        }
        2 => {
            let (a, b) = (x - 3.5, y - 3.5);
            writeln!(svg, r#"<rect x="{a:.1}" y="{b:.1}" width="7" height="7" {style}/>"#)
        }
        _ => {
            let (a, b, c, d) = (x - 8.0, x + 8.0, y - 8.0, y + 8.0);
            writeln!(svg, r#"<path d="M{a:.1} {y:.1}L{x:.1} {c:.1}L{b:.1} {y:.1}L{x:.1} {d:.1}Z" {style}/>"#)
        }
    };
}

fn line(svg: &mut String, points: &[(f64, f64)]) {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(svg, r#"<polyline class="formula" points="{}"/>"#, points.join(" "));
}

/// The whole picture.
pub fn draw(rows: &[Row]) -> String {
    let mut counts: Vec<usize> = rows.iter().map(|row| row.case.signers).collect();
    counts.dedup();
    let height = TOP + STEP.1 * (counts.len() + 1) as f64 + 44.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" role=\"img\">\n\
         <title>Time from completion to submission, and duplicate submissions, by faulty coordinators</title>\n\
         <style>{STYLE}</style>\n<rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    let _ = writeln!(
        svg,
        r#"<text class="title" x="24" y="30">From the complete signatures to the first submission: faulty coordinators first in the list</text>"#
    );
    legend(&mut svg);
    for (row, signers) in counts.iter().enumerate() {
        for (column, (tiers, name)) in TIERS.into_iter().enumerate() {
            let cases: Vec<&Row> =
                rows.iter().filter(|one| one.case.signers == *signers && one.case.tiers == tiers).collect();
            waits(&mut svg, (row, column), &format!("n = {signers}, {name}"), &cases);
        }
    }
    let top = TOP + STEP.1 * counts.len() as f64 + 44.0;
    let _ = writeln!(
        svg,
        r#"<text class="title" x="24" y="{:.1}">Duplicate submissions, silent coordinators</text>"#,
        top - 52.0
    );
    for (series, ((_, name), colour)) in TIERS.into_iter().zip(GROUPS).enumerate() {
        let x = 440.0 + 130.0 * series as f64;
        mark(&mut svg, series, colour, (x, top - 57.0));
        let _ = writeln!(svg, r#"<text x="{:.1}" y="{:.1}">{name}</text>"#, x + 14.0, top - 52.0);
    }
    for (column, signers) in counts.iter().enumerate() {
        duplicates(&mut svg, (LEFT + STEP.0 * column as f64, top), *signers, rows);
    }
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String) {
    let mut x = 34.0;
    for (series, (fault, colour)) in Fault::ALL.into_iter().zip(FAULTS).enumerate() {
        mark(svg, series, colour, (x, 56.0));
        let _ = writeln!(svg, r#"<text x="{:.1}" y="61">{}</text>"#, x + 15.0, fault.name());
        x += 118.0;
    }
    line(svg, &[(x, 56.0), (x + 34.0, 56.0)]);
    let _ = writeln!(
        svg,
        r#"<text x="{:.1}" y="61">V1: turns before the first honest signer × 5 min</text>"#,
        x + 42.0
    );
}

fn waits(svg: &mut String, (row, column): (usize, usize), title: &str, cases: &[&Row]) {
    let Some(first) = cases.first() else { return };
    let at = (LEFT + STEP.0 * column as f64, TOP + STEP.1 * row as f64);
    let minutes = |time: Duration| time.as_secs_f64() / 60.0;
    let bound = |faulty: usize| minutes(Case { faulty, ..first.case }.bound());
    let most = cases.iter().map(|row| row.case.faulty).max().unwrap_or(1);
    let axes = Axes { at, most: (most as f64 * 1.04, bound(most).max(1.0) * 1.1) };
    axes.draw(svg, title, ("faulty coordinators f", "minutes"));
    // The formula between what was measured: a staircase, unless each step is one signer wide.
    let steps: Vec<(f64, f64)> = (0..=most)
        .flat_map(|faulty| [(faulty, bound(faulty.saturating_sub(1))), (faulty, bound(faulty))])
        .map(|(x, y)| axes.place(x as f64, y))
        .collect();
    line(svg, &steps);
    for (series, (fault, colour)) in Fault::ALL.into_iter().zip(FAULTS).enumerate() {
        for row in cases.iter().filter(|row| row.case.fault == fault) {
            mark(svg, series, colour, axes.place(row.case.faulty as f64, minutes(row.worst.waited)));
        }
    }
}

fn duplicates(svg: &mut String, at: (f64, f64), signers: usize, rows: &[Row]) {
    let silent = |row: &&Row| row.case.signers == signers && row.case.fault == Fault::Silent;
    let most = rows.iter().filter(silent).map(|row| row.worst.duplicates).max().unwrap_or(0);
    let axes = Axes { at, most: ((signers - 1) as f64 * 1.04, most.max(1) as f64 * 1.1) };
    axes.draw(svg, &format!("n = {signers}"), ("faulty coordinators f", "duplicates"));
    for (series, ((tiers, _), colour)) in TIERS.into_iter().zip(GROUPS).enumerate() {
        for row in rows.iter().filter(silent).filter(|row| row.case.tiers == tiers) {
            mark(svg, series, colour, axes.place(row.case.faulty as f64, row.worst.duplicates as f64));
        }
    }
}
