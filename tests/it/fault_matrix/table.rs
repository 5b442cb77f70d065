//! The table of outcomes in `docs/deploy.md`.

use std::path::Path;

use super::Outcome;
use super::proxy::FAULTS;

const BEGIN: &str = "<!-- made by tests/it/fault_matrix.rs -->\n";
const END: &str = "<!-- end -->";

/// A row for each fault.
pub fn table(outcomes: &[Outcome], requests: usize) -> String {
    let mut text = format!(
        "A rollout of two stages makes {requests} requests beside its predictions; {} pairs of request and fault were tried.\n\n\
         | the request | tried | promoted by the same run | the next run finished | alias, journal or traffic wrong in the end | predictions meanwhile | failed |\n\
         |---|---|---|---|---|---|---|\n",
        outcomes.len()
    );
    for fault in FAULTS {
        let of: Vec<&Outcome> = outcomes.iter().filter(|o| o.fault == Some(fault)).collect();
        if of.is_empty() {
            continue;
        }
        let count = |is: &dyn Fn(&Outcome) -> bool| of.iter().filter(|o| is(o)).count();
        let failed = |o: &Outcome| {
            o.wrong
                .iter()
                .any(|said| said.starts_with("a prediction failed"))
        };
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            fault.word(),
            of.len(),
            count(&|o| o.first == Some(0)),
            count(&|o| o.second == Some(0)),
            count(&|o| !o.wrong.is_empty() && !failed(o)),
            of.iter().map(|o| o.predictions).sum::<u64>(),
            count(&failed),
        ));
    }
    text
}

/// Puts the table into its place.
pub fn write(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
}
