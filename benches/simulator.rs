//! The simulator, which is a program of its own: how many sessions a core carries out, and what a watch costs a node.

use serde_json::Value;

use crate::harness::{Table, Target, cargo, cpu_of_children};

/// Runs the simulator with these settings, and answers what it said last, and the seconds of CPU time.
fn simulate(settings: &[(&str, u64)]) -> Result<(Value, f64), String> {
    let mut cargo = cargo();
    cargo
        .args([
            "test",
            "--quiet",
            "--profile",
            "simulation",
            "--no-default-features",
            "--features",
            "mutations",
        ])
        .args(["--test", "simulation"])
        .env("THREADS", "1");
    // It is built before its time is taken.
    let built = cargo.args(["--", "--nothing"]).envs([("SEEDS", "1"), ("SEED", "1")]).output();
    built.map_err(|error| format!("cargo does not run: {error}"))?;
    let before = cpu_of_children();
    let output = cargo.envs(settings.iter().map(|(name, value)| (name, value.to_string()))).output();
    let output = output.map_err(|error| format!("cargo does not run: {error}"))?;
    let seconds = (cpu_of_children() - before).as_secs_f64();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    said.map(|said| (said, seconds)).ok_or_else(|| {
        let error = String::from_utf8_lossy(&output.stderr);
        format!("the simulator does not run: {}", error.lines().next().unwrap_or_default())
    })
}

pub fn run(table: &mut Table) {
    let (sessions, watches, seeds) = table.size.pick((5, 5, 1), (1000, 1_000, 100), (5000, 10_000, 500));
    match simulate(&[("SPEED", 1), ("SESSIONS", sessions), ("WATCHES", watches)]) {
        Ok((said, _)) => {
            let number = |name: &str| said[name].as_f64().unwrap_or_else(|| panic!("{name} in {said}"));
            let what = format!("simulator: sessions a second and core, 5 signers, no faults, of {sessions}");
            let speed = number("sessions_per_second_of_a_core");
            table.row("simulator_per_core", &what, speed, "/s", Target::AtLeast(2500.0));
            let watches = number("watches");
            let what =
                format!("memory of an engine for each session in watch, 5 signers, {watches} in watch");
            table.row(
                "watch_bytes",
                &what,
                number("bytes_of_a_session_in_watch"),
                "bytes",
                Target::AtMost(2560.0),
            );
            let what = "opening a turn in one of these, median";
            table.row("watch_turn_us", what, number("microseconds_of_a_turn"), "µs", Target::AtMost(10.0));
        }
        Err(why) => ["simulator_per_core", "watch_bytes", "watch_turn_us"]
            .map(|id| table.missing(id, &why))
            .into_iter()
            .collect(),
    }
    match simulate(&[("SEED", 1), ("SEEDS", seeds)]) {
        Ok((said, seconds)) => {
            let sessions = said["sessions"].as_f64().expect("a number");
            let what = format!("simulator: sessions a second and core, all faults and checks, {seeds} seeds");
            table.row("simulator_faults_per_core", &what, sessions / seconds, "/s", Target::AtLeast(400.0));
        }
        Err(why) => table.missing("simulator_faults_per_core", &why),
    }
}
