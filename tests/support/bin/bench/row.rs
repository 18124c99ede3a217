// SPDX-License-Identifier: Apache-2.0
//! One line of the table, and the table.

/// What was timed.
#[derive(Debug, Default)]
pub struct Row {
    /// What it was.
    pub what: String,
    /// Wall time of each run.
    pub seconds: Vec<f64>,
    /// Largest resident set; 0 where it was not measured.
    pub rss_mib: f64,
    /// Whatever else is to be said.
    pub note: String,
}

impl Row {
    /// A row without a run.
    pub fn new(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            ..Self::default()
        }
    }

    /// The middle run.
    pub fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

/// Prints the rows as Markdown.
pub fn print(rows: &[Row]) {
    println!("| what | median s | min | max | peak RSS MiB | note |");
    println!("|---|---|---|---|---|---|");
    for row in rows {
        let min = row.seconds.iter().copied().fold(f64::MAX, f64::min);
        let max = row.seconds.iter().copied().fold(0.0, f64::max);
        let rss = if row.rss_mib > 0.0 {
            format!("{:.0}", row.rss_mib)
        } else {
            String::new()
        };
        println!(
            "| {} | {:.3} | {min:.3} | {max:.3} | {rss} | {} |",
            row.what,
            row.median(),
            row.note
        );
    }
}
