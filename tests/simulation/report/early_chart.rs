//! The chart of early turns: the wait on a logarithmic axis, for each fault; a panel for each switch and each way to be
//! connected.

use std::fmt::Write;

use libmusig::EarlyTurns;
use libmusig::protocol::proposal::Tiers;

use super::chart::{STYLE, mark};
use super::early::{Fault, Row, SIGNERS, SWITCHES, Shape};
use super::failover::TIERS;

const PANEL: (f64, f64) = (150.0, 170.0);
const STEP: (f64, f64) = (172.0, 216.0);
const LEFT: f64 = 78.0;
const TOP: f64 = 116.0;
/// The axis of time, in seconds, and its marks.
const AXIS: (f64, f64) = (0.06, 2000.0);
const TICKS: [(f64, &str); 7] = [
    (0.1, "0.1 s"),
    (1.0, "1 s"),
    (5.0, "5 s"),
    (10.0, "10 s"),
    (60.0, "1 min"),
    (300.0, "5 min"),
    (1200.0, "20 min"),
];
/// One for each fault; they differ for most kinds of colour blindness, and so do the shapes of any four in a row.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a", "#a08c00"];

/// Where a measurement is in a panel. Faults stand beside each other, so that those which coincide can be told apart.
fn place((left, top): (f64, f64), faulty: usize, series: usize, seconds: f64) -> (f64, f64) {
    let x = (faulty as f64 + 0.5) / SIGNERS as f64 + (series as f64 - 3.5) * 0.019;
    (left + x * PANEL.0, top + PANEL.1 * (1.0 - (seconds / AXIS.0).ln() / (AXIS.1 / AXIS.0).ln()))
}

fn panel(svg: &mut String, at: (f64, f64), title: &str, rows: &[&Row]) {
    let (left, top) = at;
    for (seconds, name) in TICKS {
        let (_, y) = place(at, 0, 0, seconds);
        let right = left + PANEL.0;
        let _ = writeln!(svg, r#"<line class="grid" x1="{left}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/>"#);
        if left < LEFT + 1.0 {
            let (x, y) = (left - 6.0, y + 4.0);
            let _ =
                writeln!(svg, r#"<text class="small" x="{x}" y="{y:.1}" text-anchor="end">{name}</text>"#);
        }
    }
    let (width, height) = PANEL;
    let _ = writeln!(svg, r#"<rect class="frame" x="{left}" y="{top}" width="{width}" height="{height}"/>"#);
    let (x, y) = (left + width / 2.0, top - 8.0);
    let _ = writeln!(svg, r#"<text class="small" x="{x}" y="{y}" text-anchor="middle">{title}</text>"#);
    for faulty in 0..SIGNERS {
        let x = left + (faulty as f64 + 0.5) / SIGNERS as f64 * width;
        let y = top + height + 15.0;
        let _ = writeln!(svg, r#"<text class="small" x="{x}" y="{y}" text-anchor="middle">{faulty}</text>"#);
    }
    for (series, (fault, colour)) in Fault::ALL.into_iter().zip(COLOURS).enumerate() {
        let of_fault = rows.iter().filter(|(case, _)| case.fault == fault);
        let points: Vec<(f64, f64)> = of_fault
            .map(|(case, measured)| place(at, case.faulty, series, measured.waited.as_secs_f64()))
            .collect();
        let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-opacity="0.45"/>"#,
            line.join(" ")
        );
        points.into_iter().for_each(|point| mark(svg, series % 4, colour, point));
    }
}

/// The whole picture.
pub fn draw(rows: &[Row]) -> String {
    let every = SWITCHES[SWITCHES.len() - 1].0;
    let mut columns: Vec<(EarlyTurns, Tiers, String)> =
        SWITCHES.iter().map(|(early, name)| (*early, Tiers::Single, format!("{name}, Single"))).collect();
    columns.extend(TIERS[1..].iter().map(|(tiers, name)| (every, *tiers, format!("all, {name}"))));
    let width = LEFT + STEP.0 * columns.len() as f64;
    let height = TOP + STEP.1 * Shape::ALL.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" role=\"img\">\n\
         <title>Time from completion to submission by fault, switch, tiers and connections</title>\n\
         <style>{STYLE}</style>\n<rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"24\" y=\"30\">From the complete signatures to the first submission, by faulty coordinators; \
         logarithmic axis</text>\n"
    );
    for (series, (fault, colour)) in Fault::ALL.into_iter().zip(COLOURS).enumerate() {
        let x = 34.0 + 118.0 * series as f64;
        mark(&mut svg, series % 4, colour, (x, 58.0));
        let _ = writeln!(svg, r#"<text x="{}" y="63">{}</text>"#, x + 14.0, fault.name());
    }
    for (row, shape) in Shape::ALL.into_iter().enumerate() {
        for (column, (early, tiers, name)) in columns.iter().enumerate() {
            let shown: Vec<&Row> = rows
                .iter()
                .filter(|(case, _)| case.shape == shape && case.early == *early && case.tiers == *tiers)
                .collect();
            let at = (LEFT + STEP.0 * column as f64, TOP + STEP.1 * row as f64);
            panel(&mut svg, at, &format!("{}: {name}", shape.name()), &shown);
        }
    }
    svg.push_str("</svg>\n");
    svg
}
